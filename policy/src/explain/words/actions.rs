//! What is done: the names of actions, how, to what, by whom and for whom.

use super::{Language, condition};
use crate::odrl::{Action, Asset, Constraint, Party, Policy};

/// ODRL's actions in Japanese, by their term.
const JAPANESE: &[(&str, &str)] = &[
    ("access", "提供条件の閲覧"),
    ("acceptTracking", "追跡の受諾"),
    ("aggregate", "集約"),
    ("annotate", "注釈の付与"),
    ("anonymize", "匿名化"),
    ("archive", "保管"),
    ("attribute", "出所の表示"),
    ("compensate", "対価の支払い"),
    ("concurrentUse", "同時利用"),
    ("delete", "削除"),
    ("derive", "派生物の作成"),
    ("digitize", "デジタル化"),
    ("display", "表示"),
    ("distribute", "頒布"),
    ("ensureExclusivity", "独占性の確保"),
    ("execute", "実行"),
    ("extract", "抽出"),
    ("give", "無償譲渡"),
    ("grantUse", "利用の許諾"),
    ("include", "組み込み"),
    ("index", "索引付け"),
    ("inform", "通知"),
    ("install", "インストール"),
    ("log", "記録"),
    ("modify", "変更"),
    ("move", "移動"),
    ("nextPolicy", "再提供時のポリシーの適用"),
    ("obtainConsent", "同意の取得"),
    ("play", "再生"),
    ("present", "上演・提示"),
    ("print", "印刷"),
    ("read", "読み取り"),
    ("reproduce", "複製"),
    ("reviewPolicy", "ポリシーの確認"),
    ("sell", "販売"),
    ("share", "共有"),
    ("stream", "ストリーミング"),
    ("synchronize", "同期"),
    ("textToSpeech", "音声読み上げ"),
    ("transfer", "所有権の移転"),
    ("transform", "形式の変換"),
    ("translate", "翻訳"),
    ("uninstall", "アンインストール"),
    ("use", "利用"),
    ("watermark", "電子透かしの付与"),
];

pub(super) fn actions(actions: &[Action], language: Language) -> String {
    let names: Vec<_> = (actions.iter())
        .map(|item| refined(action(&item.name, language), &item.refinements, language))
        .collect();
    names.join(match language {
        Language::English => ", ",
        Language::Japanese => "、",
    })
}

/// The own target of a rule or duty, and its own assignee and assigner, where it has any.
pub(super) fn parties(
    target: Option<&Asset>,
    [assignee, assigner]: [Option<&Party>; 2],
    language: Language,
) -> String {
    let party = |party: &Party| refined(party.id.clone(), &party.refinements, language);
    let target = target.map(|asset| refined(asset.id.clone(), &asset.refinements, language));
    let parts = [
        ("of", "対象", target),
        ("by", "行う者", assignee.map(party)),
        ("for", "相手方", assigner.map(party)),
    ];
    let said = |(english, japanese, name): (&str, &str, Option<String>)| {
        let name = name?;
        Some(match language {
            Language::English => format!(" {english} {name}"),
            Language::Japanese => format!("({japanese}: {name})"),
        })
    };
    parts.into_iter().filter_map(said).collect()
}

/// What a policy is about, and whose it is, where it says so itself: an offer or agreement does.
pub(super) fn head(policy: &Policy, language: Language) -> Option<String> {
    let party = |party: &Party| refined(party.id.clone(), &party.refinements, language);
    let asset = |asset: &Asset| refined(asset.id.clone(), &asset.refinements, language);
    let parts = [
        ("target", "対象データ", policy.target.as_ref().map(asset)),
        ("assignee", "受領者", policy.assignee.as_ref().map(party)),
        ("assigner", "提供者", policy.assigner.as_ref().map(party)),
    ];
    let said = |(english, japanese, name): (&str, &str, Option<String>)| {
        let name = name?;
        Some(match language {
            Language::English => format!("{english} {name}"),
            Language::Japanese => format!("{japanese} {name}"),
        })
    };
    let parts: Vec<_> = parts.into_iter().filter_map(said).collect();
    Some(match language {
        _ if parts.is_empty() => return None,
        Language::English => format!("It concerns: {}.", parts.join("; ")),
        Language::Japanese => format!("適用対象: {}。", parts.join("、")),
    })
}

/// What is named, narrowed by its refinements.
fn refined(name: String, refinements: &[Constraint], language: Language) -> String {
    if refinements.is_empty() {
        return name;
    }
    let texts: Vec<_> = refinements.iter().map(|item| condition(item, language)).collect();
    match language {
        Language::English => format!("{name} (only such that {})", texts.join(", and ")),
        Language::Japanese => {
            format!("{name}(次の条件を満たすものに限る: {})", texts.join("、かつ、"))
        }
    }
}

/// One action: ODRL's term as English words, or its Japanese name with the term beside. One of another vocabulary stays as it is.
pub(crate) fn action(term: &str, language: Language) -> String {
    let Some((_, japanese)) = JAPANESE.iter().find(|(name, _)| *name == term) else {
        return term.to_owned();
    };
    match language {
        Language::Japanese => format!("{japanese}({term})"),
        Language::English => super::words_of(term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_of_the_vocabulary_has_a_name() {
        for term in crate::vocabulary::actions() {
            let is_named = JAPANESE.iter().any(|(name, _)| *name == term);
            // Actions of profiles are identifiers, and stay as they are.
            assert!(is_named || term.contains(':'), "{term}");
        }
        assert_eq!(action("obtainConsent", Language::English), "obtain consent");
        assert_eq!(action("delete", Language::Japanese), "削除(delete)");
    }
}
