//! A whole policy as a document for approval.

use super::Language::{self, English, Japanese};
use super::{clause, conflict, sentences};
use crate::file::Audience;
use crate::set::CompiledPolicy;
use std::collections::BTreeSet;

/// Renders a policy with its parties, its datasets and numbered clauses.
#[must_use]
pub fn document(policy: &CompiledPolicy, language: Language) -> String {
    let mut lines = Vec::new();
    match language {
        English => lines.push(format!("Usage policy: {} ({})", policy.title, policy.name)),
        Japanese => lines.push(format!("利用ポリシー: {}({})", policy.title, policy.name)),
    }
    if !policy.description.is_empty() {
        lines.push(policy.description.trim().to_owned());
    }
    lines.push(String::new());
    lines.push(who(&policy.audience, language));
    lines.push(what(policy, language));
    lines.push(String::new());
    let sentences = sentences(&policy.template, language);
    let last = [conflict(policy.template.conflict, language), closed(language)];
    let clauses = sentences.iter().map(String::as_str).chain(last);
    lines.extend(clauses.enumerate().map(|(index, clause)| format!("{}. {clause}", index + 1)));
    lines.push(String::new());
    lines.push(
        match language {
            English => "How far each clause is honoured:",
            Japanese => "各条項の実効性:",
        }
        .to_owned(),
    );
    lines.extend(policy.clauses.iter().map(|report| format!("  {}", clause(report, language))));
    lines.push(format!("SHA-256: {}", hex::encode(policy.hash)));
    lines.join("\n")
}

fn who(audience: &Audience, language: Language) -> String {
    let mut named = Vec::new();
    if audience.anyone_registered {
        named.push(
            match language {
                English => "every registered partner",
                Japanese => "登録済みのすべての取引先",
            }
            .to_owned(),
        );
    }
    named.extend(parties(&audience.partners, &audience.groups, language));
    let except = parties(&audience.except_partners, &audience.except_groups, language);
    match language {
        English if except.is_empty() => format!("Offered to: {}.", named.join("; ")),
        English => format!("Offered to: {}; except: {}.", named.join("; "), except.join("; ")),
        Japanese if except.is_empty() => format!("対象者: {}。", named.join("、")),
        Japanese => format!("対象者: {}(ただし、{} を除く)。", named.join("、"), except.join("、")),
    }
}

fn parties(
    partners: &BTreeSet<String>,
    groups: &BTreeSet<String>,
    language: Language,
) -> Vec<String> {
    let groups = groups.iter().map(|group| match language {
        English => format!("the members of the group {group}"),
        Japanese => format!("グループ {group} に属する取引先"),
    });
    partners.iter().cloned().chain(groups).collect()
}

fn what(policy: &CompiledPolicy, language: Language) -> String {
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !policy.datasets.is_empty() {
        parts.push(list(&policy.datasets));
    }
    if !policy.tags.is_empty() {
        parts.push(match language {
            English => format!("datasets with the tag {}", list(&policy.tags)),
            Japanese => format!("タグ {} の付いたデータセット", list(&policy.tags)),
        });
    }
    parts.push(match language {
        English => "datasets that are published under this policy's name".to_owned(),
        Japanese => "このポリシー名で公開されたデータセット".to_owned(),
    });
    match language {
        English => format!("Data: {}.", parts.join("; ")),
        Japanese => format!("対象データ: {}。", parts.join("、")),
    }
}

const fn closed(language: Language) -> &'static str {
    match language {
        English => "Whatever is not permitted above is denied.",
        Japanese => "上記で許可されていない行為は、すべて許可されません。",
    }
}
