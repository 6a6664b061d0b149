//! Findings in Japanese: for each text of this linter its translation, with what stands in it.
//!
//! `{}` in the English text matches what the finding names there; `{0}`, `{1}` … in the Japanese put it where it belongs. A reason
//! within a finding is a text of the table itself. What has no translation stays as it is: better than unsaid.

use crate::explain;

/// A text in Japanese.
pub(super) fn said(english: &str) -> String {
    let found =
        TEXTS.iter().find_map(|(pattern, japanese)| Some((named(pattern, english)?, *japanese)));
    if let Some((found, japanese)) = found {
        return filled(japanese, &found);
    }
    // A clause that is not honoured, with its place and the reason.
    match named("{}: `{}`: {}", english).as_deref() {
        Some([place, clause, note]) => explain::placed(place, clause, note),
        _ => english.to_owned(),
    }
}

/// A text with what stands in it, in one pass: what is put in is not looked through for places again.
fn filled(pattern: &str, found: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (place, after) = after.split_once('}').unwrap_or((after, ""));
        let part = place.parse().ok().and_then(|index: usize| found.get(index));
        text.push_str(&part.map(|part| said(part)).unwrap_or_default());
        rest = after;
    }
    text.push_str(rest);
    text
}

/// What stands in the places of a pattern; nothing where the text is another.
fn named<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut parts = pattern.split("{}").peekable();
    let mut before = parts.next()?;
    let mut rest = text.strip_prefix(before)?;
    let mut found = Vec::new();
    while let Some(after) = parts.next() {
        let (part, left) = match parts.peek() {
            Some(_) => rest.split_once(after)?,
            None => (rest.strip_suffix(after)?, ""),
        };
        // What stands in backticks ends with the next one.
        if before.ends_with('`') && after.starts_with('`') && part.contains('`') {
            return None;
        }
        found.push(part);
        (before, rest) = (after, left);
    }
    rest.is_empty().then_some(found)
}

#[rustfmt::skip]
const TEXTS: &[(&str, &str)] = &[
    // Rules that can never hold, or do nothing.
    ("this permission can never hold: line {} of restrictions.toml prohibits it ({})",
     "この許可は成立することがありません。restrictions.toml の {0} 行目で禁止されています(理由: {1})。"),
    ("this permission can never hold: `{}` is prohibited without condition",
     "この許可は成立することがありません。「{0}」が無条件に禁止されています。"),
    ("this permission can never hold: {}", "この許可は成立することがありません。{0}"),
    ("this prohibition never applies: {}", "この禁止は適用されることがありません。{0}"),
    ("this restriction never applies: {}", "この制限は適用されることがありません。{0}"),
    ("`{}` never has to be done: {}", "「{0}」を行う義務が生じることはありません。{1}"),
    ("`{}` and `{}` exclude each other", "「{0}」と「{1}」は両立しません。"),
    ("`{}` holds for no use", "「{0}」を満たす利用はありません。"),
    ("change one of the conditions, or list them under any-of",
     "条件のいずれかを変更するか、any-of の下に並べてください。"),
    ("change one of the conditions", "条件のいずれかを変更してください。"),
    ("this permission is over since {}", "この許可は {0} に期限が切れています。"),
    ("this prohibition is over since {}", "この禁止は {0} に期限が切れています。"),
    ("this restriction is over since {}", "この制限は {0} に期限が切れています。"),
    ("it is over since {}", "{0} に期限が切れています。"),
    ("set a later time, or remove what is over", "期限を延ばすか、期限の切れたものを削除してください。"),
    ("set a later time, or remove it", "期限を延ばすか、削除してください。"),
    ("remove one of the two, or give the prohibition a condition",
     "どちらか一方を削除するか、禁止に条件を付けてください。"),
    ("this permission and the prohibition of `{}` contradict each other, which voids the policy: nothing is ever permitted",
     "この許可と「{0}」の禁止が矛盾するため、ポリシー全体が無効となり、何も許可されません。"),
    ("write conflict = \"prohibit\", so that the prohibition takes away only its part",
     "conflict = \"prohibit\" と記述すると、禁止された部分だけが許可から除かれます。"),
    ("the prohibition of `{}` has no effect here: conflict = \"perm\" lets this permission win",
     "conflict = \"perm\" によりこの許可が優先するため、「{0}」の禁止は効果がありません。"),
    ("write conflict = \"prohibit\", or remove the prohibition",
     "conflict = \"prohibit\" と記述するか、禁止を削除してください。"),
    ("this permission adds nothing: line {} permits `{}` already",
     "この許可は不要です。{0} 行目で「{1}」がすでに許可されています。"),
    ("remove it, or give the other more conditions", "これを削除するか、もう一方の条件を増やしてください。"),
    ("remove the permission, or narrow the restriction", "許可を削除するか、制限の範囲を狭めてください。"),
    // Groups of conditions.
    ("nothing under `{}` can hold, so the rule never does: {}",
     "「{0}」の下の条件はどれも成立しないため、この条項は成立することがありません。{1}"),
    ("change the conditions, or remove the rule", "条件を変更するか、この条項を削除してください。"),
    ("`{}` under `{}` can never hold: {}", "「{1}」の下の「{0}」は成立することがありません。{2}"),
    ("remove it, or change it", "削除するか、変更してください。"),
    ("this asks nothing: `{}` or `{}` always holds",
     "「{0}」または「{1}」が必ず成立するため、条件として意味がありません。"),
    ("remove the group, or change a condition", "この条件の組を削除するか、条件を変更してください。"),
    ("`{}` adds nothing: where it holds, `{}` holds as well",
     "「{0}」は不要です。これが成立する場合は、「{1}」も成立します。"),
    ("remove the one, or narrow the other", "前者を削除するか、後者の範囲を狭めてください。"),
    ("`{}` can never be the one that holds: where it does, `{}` does as well",
     "「{0}」だけが成立することはありません。これが成立する場合は、「{1}」も成立します。"),
    ("write any-of, or conditions that exclude each other",
     "any-of を用いるか、互いに両立しない条件にしてください。"),
    // Partners and groups.
    ("`{}` is neither a registered partner nor a group", "「{0}」は登録済みの取引先でもグループでもありません。"),
    ("register it, or correct the name; a person or application behind a partner cannot be named here",
     "取引先を登録するか、名前を訂正してください。取引先の個人やアプリケーションをここで指定することはできません。"),
    ("`{}` is not a registered partner, so this binds nobody of that name",
     "「{0}」は登録済みの取引先ではないため、この制限の対象となる者がいません。"),
    ("`{}` is not a registered partner", "「{0}」は登録済みの取引先ではありません。"),
    ("name it by its participant id, as `sekisho partner list` shows it",
     "`sekisho partner list` に表示される参加者IDで指定してください。"),
    ("no active partner may see this offer", "この提供条件を閲覧できる有効な取引先がありません。"),
    ("name a partner, group or anyone-registered = true; see `sekisho partner list`",
     "取引先またはグループを指定するか、anyone-registered = true と記述してください(`sekisho partner list` を参照)。"),
    ("no partner is in a group `{}`: it matches nobody", "グループ「{0}」に属する取引先がないため、該当者がいません。"),
    ("put a partner into the group in its file; or: {}", "取引先のファイルでグループに加えてください。または: {0}"),
    ("put a partner into the group in its file", "取引先のファイルでグループに加えてください。"),
    ("this always denies to {}, for whom no region is declared",
     "{0} には地域が登録されていないため、常に拒否されます。"),
    ("write region = \"JP\", or where it is, into partners/{}.toml",
     "partners/{0}.toml に region = \"JP\" のように所在地域を記述してください。"),
    ("nobody who may see this offer can use it: `{}` does not hold, for one, for `{}`",
     "この提供条件を閲覧できる取引先の中に、利用できる者がいません。例えば取引先「{1}」は「{0}」を満たしません。"),
    ("offer it to others under [who], or change the condition",
     "[who] で別の取引先を対象とするか、条件を変更してください。"),
    // Duties.
    ("set a later time, or `within`, which counts from each agreement",
     "期限を延ばすか、合意の時点から起算する within を用いてください。"),
    ("nobody can confirm how `{}` was done by a group of conditions",
     "条件を組にして記述すると、「{0}」をどのように行ったかを確認できません。"),
    ("write each condition on how it is done by itself", "履行の方法に関する条件は、一つずつ記述してください。"),
    ("`{}` must be done by `{}`, who is no registered partner",
     "「{0}」の義務を負う「{1}」は、登録済みの取引先ではありません。"),
    ("name a partner or a group, or leave it out: then whoever agrees bears it",
     "取引先またはグループを指定するか、省略してください。省略した場合は、合意した相手方が義務を負います。"),
    ("`{}` must be done and is prohibited by `{}`", "「{0}」は義務とされる一方、「{1}」により禁止されています。"),
    ("prohibit less, or require something else", "禁止の範囲を狭めるか、別の義務にしてください。"),
    ("nobody can do `{}` in time: its deadline was {}", "「{0}」を期限までに行うことはできません。期限は {1} でした。"),
    ("nobody can do `{}` in time: its deadline {} comes before anything is permitted",
     "「{0}」を期限までに行うことはできません。期限 {1} は、許可が始まる前に到来します。"),
    ("nobody can do `{}` in no time", "「{0}」の履行期間がゼロのため、履行できません。"),
    // Datasets.
    ("no dataset `{}` is published", "データセット「{0}」は公開されていません。"),
    ("correct the id, or publish it: `sekisho dataset publish`",
     "IDを訂正するか、`sekisho dataset publish` で公開してください。"),
    ("no dataset has the tag `{}`", "タグ「{0}」の付いたデータセットがありません。"),
    ("this policy offers nothing: no dataset is published under it",
     "このポリシーの下で公開されたデータセットがないため、何も提供されません。"),
    ("name datasets or tags under [what], or publish one with --policy {}",
     "[what] でデータセットまたはタグを指定するか、--policy {0} を付けて公開してください。"),
    // Beside other files.
    ("`{}` is permitted here and prohibited by line {} of {}, both offered to `{}`: each policy is an offer of its own, so the partner may choose the one that permits it",
     "「{0}」はここで許可され、{2} の {1} 行目で禁止されていますが、どちらも取引先「{3}」に提供されます。各ポリシーは独立した提供条件であるため、取引先は許可する方を選ぶことができます。"),
    ("offer them to different partners or for different datasets, or prohibit it in restrictions.toml",
     "対象の取引先またはデータセットを分けるか、restrictions.toml で禁止してください。"),
    ("the purposes `{}` and `{}` differ by little", "利用目的「{0}」と「{1}」の表記が似ています。"),
    ("if they are the same, write them alike; list the purposes of the site in purposes.toml, and every other is refused",
     "同じ目的であれば表記を統一してください。当サイトの利用目的を purposes.toml に列挙すると、それ以外は受け付けません。"),
    // What is not honoured.
    ("partners are told with the agreement that it is not honoured; what it concerns is denied",
     "この条項に対応できないことは、合意の際に取引先へ通知されます。この条項に関わる行為は許可されません。"),
    // Names that most likely were meant.
    ("did you mean `{}`?", "「{0}」の誤りではありませんか。"),
    ("did you mean {}?", "{0} の誤りではありませんか。"),
    ("known are {}", "使用できるものは次のとおりです: {0}"),
];
