//! Text of strangers, made fit for a line that people read.

/// How much of a refused text an error repeats, in characters.
const SHOWN: usize = 80;

/// The beginning of a text that is refused, escaped.
pub(crate) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(escape).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The whole text on one line, without what could move the cursor or turn the direction of writing.
pub(crate) fn line(text: &str) -> String {
    text.chars().flat_map(escape).collect()
}

fn escape(character: char) -> impl Iterator<Item = char> {
    let (escaped, plain) = match is_unsafe(character) {
        true => (Some(character.escape_unicode()), None),
        false => (None, Some(character)),
    };
    escaped.into_iter().flatten().chain(plain)
}

/// Control characters, and the characters of Unicode UAX 9 and UTS 55 that make text look like another.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '`' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests;
