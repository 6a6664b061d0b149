use super::*;

#[test]
fn text_of_strangers_cannot_move_the_cursor_or_turn_the_line() {
    assert_eq!(line("部品B — ok"), "部品B — ok");
    assert_eq!(line("a\nb\u{1b}[2Jc"), r"a\u{a}b\u{1b}[2Jc");
    assert_eq!(line("exe.\u{202e}fdp"), r"exe.\u{202e}fdp");
}

#[test]
fn a_long_text_is_cut() {
    assert_eq!(shorten("short"), "short");
    assert_eq!(shorten(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
}
