//! Where a clause stands, and how far it is honoured, in the language of the reader.

use super::Language::{self, English, Japanese};
use crate::classify::{By, Class, ClauseReport};

/// A clause with its place, and how far it is honoured.
#[must_use]
pub fn clause(report: &ClauseReport, language: Language) -> String {
    let (place, text) = (place(&report.place, language), &report.clause);
    match language {
        English => format!("{place}: {text} ({}; {})", report.class, report.note),
        Japanese => format!("{place}: {text}({}。{})", class(report.class), japanese(report.note)),
    }
}

/// A clause that this node cannot honour, as a sentence for whoever is bound by it.
#[must_use]
pub fn not_honoured(report: &ClauseReport, language: Language) -> String {
    let (place, text) = (place(&report.place, language), &report.clause);
    match language {
        English => format!("Not honoured by this connector, {place}: {text} ({})", report.note),
        Japanese => {
            format!("本システムで対応できない条項、{place}: {text}({})", japanese(report.note))
        }
    }
}

/// The parts of a place such as `permission 1, duty 2`, in Japanese after what they stand in, and alone.
const PLACES: [(&str, &str, &str); 6] = [
    ("policy", "", "ポリシー"),
    ("permission", "", "許可"),
    ("prohibition", "", "禁止"),
    ("obligation", "", "義務"),
    ("duty", "に付随する", "義務"),
    ("consequence", "の", "不履行時の義務"),
];

fn place(place: &str, language: Language) -> String {
    if language == English {
        return place.to_owned();
    }
    let mut text = String::new();
    for part in place.split(", ") {
        let (name, number) = part.split_once(' ').unwrap_or((part, ""));
        match PLACES.iter().find(|(english, ..)| *english == name) {
            Some((_, joint, japanese)) => text.extend([joint, japanese, number]),
            // What has no translation is better left as it is than unsaid; so in `japanese` below.
            None => text.extend([" ", part]),
        }
    }
    text
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Enforced => "本システムが制御",
        Class::Declared(By::Partner) => "取引先の申告に基づき判定",
        Class::Declared(By::Administrator) => "当社管理者の登録に基づき判定",
        Class::AtRecipient => "受領側のシステムが制御",
        Class::Observed => "記録のみ",
        Class::Refused => "受付不可",
    }
}

/// The Japanese of a note of [`crate::classify`].
fn japanese(note: &str) -> &str {
    NOTES.iter().find(|(english, _)| *english == note).map_or(note, |(_, japanese)| *japanese)
}

/// A clause with its place and the note of its class, in Japanese.
pub(crate) fn placed(at: &str, clause: &str, note: &str) -> String {
    format!("{}: 「{clause}」: {}", place(at, Japanese), japanese(note))
}

#[rustfmt::skip]
const NOTES: [(&str, &str); 29] = [
    ("a partner whose card lists `hand-over/1` says that its node hands the data only to applications of which this holds, \
      and nothing here checks that; of any other partner an attestation in its file decides",
     "カードに hand-over/1 を掲げる取引先では、取引先のシステムが該当するアプリケーションにのみデータを渡すことを取引先自身が表明しており、本システムでは確認できません。その他の取引先では、取引先ファイルに記載の証明により判定します"),
    ("a policy of a profile that is not known must not be processed",
     "未知のプロファイルに基づくポリシーは処理できません"),
    ("against the rules of its profile, so it denies",
     "プロファイルの規則に反するため、許可されません"),
    ("a policy that is not among those of this site, so it denies",
     "継承元が当サイトのポリシーにないため、許可されません"),
    ("not understood, so it denies",
     "解釈できないため、許可されません"),
    ("decided before data leaves this node",
     "データが本システムから送り出される前に判定します"),
    ("agreed and recorded; what happens at the recipient is out of reach",
     "合意した内容を記録します。受領者側での行為は管理できません"),
    ("not an action of the ODRL vocabulary, so it denies",
     "ODRL の語彙にない行為のため、許可されません"),
    ("compared with what a reference stands for, which this site does not know",
     "参照先の値と比較する条件ですが、当サイトではその値を確認できません"),
    ("this node's journal records each use before data flows",
     "データを渡す前に、利用ごとに本システムの台帳に記録します"),
    ("done by the exchange: both parties take part in each transfer",
     "両当事者が各転送に関与するため、データの授受そのものにより履行されます"),
    ("no data flows before it is reported as done",
     "履行の報告があるまで、データは提供されません"),
    ("agreed and tracked; doing it is up to the partner",
     "合意した内容の履行状況を管理します。履行そのものは取引先に委ねられます"),
    ("compared with the region in the partner's file; where the data goes afterwards is out of reach",
     "取引先ファイルに記載の地域と照合します。提供後のデータの所在は管理できません"),
    ("this node counts the transfers it grants",
     "本システムが許可した転送の回数を数えます"),
    ("compared with the purpose the partner declares; what it does with the data is out of reach",
     "取引先が申告した利用目的と照合します。実際の利用方法は管理できません"),
    ("the partner is known by its certificate",
     "取引先を証明書により識別します"),
    ("decided by this node's clock, while data flows as well",
     "本システムの時計により、転送中も判定します"),
    ("the node that fetches the data is known by its certificate",
     "データを取得するシステムを証明書により識別します"),
    ("compared with what the partner's file says of it",
     "取引先ファイルの記載と照合します"),
    ("compared with the attributes and the valid credentials in the partner's file, while data flows as well",
     "取引先ファイルに記載の属性および有効な資格証明と、転送中も照合します"),
    ("compared with the dataset as published",
     "公開されたデータセットの記載と照合します"),
    ("a transfer may read the whole of a dataset",
     "転送ではデータセット全体が読み取られ得るものとして判定します"),
    ("this node delivers the data",
     "データの提供は本システムが行います"),
    ("this node counts transfers",
     "本システムが転送の回数を数えます"),
    ("a term of contract that the partner accepts with the agreement; nothing checks it",
     "取引先が合意により受諾する契約条項です。本システムでは確認できません"),
    ("how long data is used happens at the recipient and is not measured, so it denies",
     "利用時間は受領者側で生じるもので計測できないため、許可されません"),
    ("this node does not know what was paid, so it denies; it can be asked of the duty `compensate`",
     "支払いの有無を本システムでは確認できないため、許可されません。義務 compensate により支払いを求めることはできます"),
    ("not a fact that a connector can know, so it denies",
     "本システムでは確認できない事実のため、許可されません"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::classify::{classify, operand};
    use crate::odrl::{LeftOperand, Policy};

    #[test]
    fn every_note_and_place_is_said_in_japanese() {
        let operands = LeftOperand::terms().into_iter().filter_map(LeftOperand::parse);
        let duty = |action: &str| json!({ "action": action });
        let reference =
            json!({ "leftOperand": "count", "operator": "lteq", "rightOperandReference": "urn:r" });
        let late = json!({ "action": "delete", "consequence": [duty("compensate")] });
        let policy = Policy::from_json(&json!({
            "profile": "urn:unknown",
            "inheritFrom": "urn:unknown",
            "permission": [{
                "action": ["use", "print", "teleport"], "moon": 1, "constraint": [reference],
                "duty": [duty("obtainConsent"), duty("log")],
            }],
            "prohibition": [{ "action": "sell", "remedy": [duty("compensate")] }],
            "obligation": [late, duty("inform"), duty("teleport")],
        }))
        .unwrap();
        let clauses = classify(&policy);
        let notes =
            operands.map(|left| operand(left).1).chain(clauses.iter().map(|clause| clause.note));
        // Of the profiles' rules only those of a profile that is known are judged.
        let notes = notes.chain(["against the rules of its profile, so it denies"]);
        let said: std::collections::BTreeSet<_> = notes.collect();
        for note in &said {
            assert_ne!(japanese(note), *note);
        }
        for (note, _) in NOTES {
            assert!(said.contains(note), "no clause says: {note}");
        }
        for report in &clauses {
            let text = place(&report.place, Japanese);
            assert!(!text.contains(|letter: char| letter.is_ascii_alphabetic()), "{text}");
        }
        let denied = clauses.iter().find(|report| report.clause == "teleport").unwrap();
        assert_eq!(
            clause(denied, Japanese),
            "許可1: teleport(受付不可。ODRL の語彙にない行為のため、許可されません)"
        );
        assert_eq!(
            not_honoured(denied, Japanese),
            "本システムで対応できない条項、許可1: teleport(ODRL の語彙にない行為のため、許可されません)"
        );
        assert_eq!(place("permission 1, duty 2", Japanese), "許可1に付随する義務2");
        assert_eq!(place("obligation 3, consequence 1", Japanese), "義務3の不履行時の義務1");
    }
}
