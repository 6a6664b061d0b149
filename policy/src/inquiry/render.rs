//! Answers as text, in English and Japanese.

use super::{Answer, Change, Clause, Dataset, Partner, Question, Site, Verdict};
use crate::diagnostic::{Diagnostic, Severity};
use crate::evaluate::{Ground, Status};
use crate::explain::{self, Language};
use crate::file::expression;
use crate::odrl::{Constraint, Rule};
use crate::set::CompiledPolicy;
use Language::{English, Japanese};
use std::collections::BTreeSet;

/// The answer with the deciding clause as it stands in its file, and what would change it.
#[must_use]
pub fn answer(
    site: &Site,
    partner: &Partner,
    dataset: &Dataset,
    question: &Question,
    answer: &Answer,
    language: Language,
) -> String {
    let mut text = headline(partner, dataset, question, answer, language);
    if let Some(clause) = answer.verdict.clause() {
        text.push_str(&format!("\n\n{}", marked(site, answer, clause, language)));
    }
    if let Verdict::NotOffered { hidden, barred } = &answer.verdict {
        if barred.is_empty() || !hidden.is_empty() {
            text.push_str(&format!("\n{}", not_offered(hidden, language)));
        }
        for (policy, reason) in barred {
            text.push_str(&match language {
                English => format!("\nPolicy `{policy}` may not offer it, which was made from received data: {reason}"),
                Japanese => format!("\nポリシー「{policy}」では提供できません(受領したデータから作成されたため): {reason}"),
            });
        }
    }
    if let Verdict::Permit { policy, .. } = &answer.verdict {
        text.push_str(&permitted(site, question, answer, policy, language));
        return text;
    }
    text.push_str(match language {
        English => "\n\nWhat would change the answer:",
        Japanese => "\n\n結果が変わる条件:",
    });
    if answer.changes.is_empty() {
        text.push_str(match language {
            English => "\n  no single change of the request, or of what this site says of the partner, would",
            Japanese => "\n  依頼内容または取引先の登録内容を一つ変えるだけでは変わりません",
        });
    }
    for change in &answer.changes {
        text.push_str(&format!("\n  - {}", change_text(change, partner, language)));
    }
    let others = answer.judged.iter().filter(|judged| {
        judged.is_offered && Some(judged.policy.name.as_str()) != answer.verdict.policy()
    });
    for judged in others {
        let Some(ground) = &judged.evaluation.ground else { continue };
        let name = &judged.policy.name;
        text.push_str(&match language {
            English => format!("\nPolicy `{name}` denies too: {ground}"),
            Japanese => {
                format!("\nポリシー「{name}」も拒否します: {}", japanese(ground, &judged.policy))
            }
        });
    }
    text
}

fn headline(
    partner: &Partner,
    dataset: &Dataset,
    question: &Question,
    answer: &Answer,
    language: Language,
) -> String {
    let (name, id, at) = (&partner.name, &dataset.id, question.at);
    let action = explain::action(&question.action, language);
    let purpose = question.purpose.as_deref();
    match language {
        English => {
            let purpose =
                purpose.map_or_else(String::new, |purpose| format!(" for the purpose `{purpose}`"));
            let verdict = if answer.is_permit() { "Permitted" } else { "Denied" };
            let head = format!(
                "{verdict}: `{name}`, action \"{action}\", dataset `{id}`{purpose}, at {at}."
            );
            match &answer.verdict {
                Verdict::Suspended => format!("{head}\nThe partner is suspended."),
                Verdict::Withdrawn => format!("{head}\nThe dataset is withdrawn."),
                _ => head,
            }
        }
        Japanese => {
            let purpose =
                purpose.map_or_else(String::new, |purpose| format!("、利用目的「{purpose}」"));
            let verdict = if answer.is_permit() { "許可" } else { "拒否" };
            let head = format!(
                "{verdict}: 取引先「{name}」、行為「{action}」、データセット「{id}」{purpose}、日時 {at}。"
            );
            match &answer.verdict {
                Verdict::Suspended => format!("{head}\nこの取引先は停止中です。"),
                Verdict::Withdrawn => format!("{head}\nデータセットは公開が取り下げられています。"),
                _ => head,
            }
        }
    }
}

/// The deciding clause in its file, as a compiler marks it.
fn marked(site: &Site, answer: &Answer, clause: &Clause, language: Language) -> String {
    let policy = answer.verdict.policy().and_then(|name| site.rules.policy(name));
    let message = match (&answer.verdict, language) {
        (Verdict::Deny { ground, .. }, English) => ground.to_string(),
        (Verdict::Deny { ground, .. }, Japanese) => {
            policy.map_or_else(|| ground.to_string(), |policy| japanese(ground, policy))
        }
        (_, English) => format!("granted by `{}`", clause.text),
        (_, Japanese) => format!("次の条項により許可されます: 「{}」", clause.text),
    };
    let text = site.rules.text(&clause.file);
    let marked =
        Diagnostic::spotted(&clause.file, text, clause.spot, message, "").graded(Severity::Note);
    match language {
        English => marked.to_string(),
        Japanese => marked.labelled("注記", "対処"),
    }
}

fn not_offered(hidden: &[String], language: Language) -> String {
    let names = hidden.join(", ");
    match (language, hidden.is_empty()) {
        (English, true) => {
            "No policy offers the dataset to anybody, so to the partner it does not exist.".to_owned()
        }
        (English, false) => format!(
            "The policies that offer the dataset ({names}) do not name the partner in [who], so to the partner it does not exist."
        ),
        (Japanese, true) => {
            "このデータセットを提供するポリシーがないため、取引先には存在しないものとして扱われます。".to_owned()
        }
        (Japanese, false) => format!(
            "このデータセットを提供するポリシー({names})の [who] に取引先が含まれないため、存在しないものとして扱われます。"
        ),
    }
}

fn permitted(
    site: &Site,
    question: &Question,
    answer: &Answer,
    policy: &str,
    language: Language,
) -> String {
    let mut text = String::new();
    let judged = answer.judged.iter().find(|judged| judged.policy.name == policy);
    if let Verdict::Permit { until: Some(until), .. } = &answer.verdict {
        text.push_str(&match language {
            English => format!("\n\nTime alone may change this at {until}."),
            Japanese => format!("\n\n{until} に、時間の経過だけで結果が変わることがあります。"),
        });
    }
    let left = (judged.into_iter().flat_map(|judged| &judged.evaluation.rules))
        .flat_map(|report| &report.constraints)
        .filter(|report| report.status == Status::Elsewhere);
    let left: BTreeSet<&str> = left.map(|report| report.clause.as_str()).collect();
    if !left.is_empty() && question.application.is_none() {
        text.push_str(match language {
            English => "\nLeft to the partner's node, for each application that asks it for the data (see --application):",
            Japanese => "\n取引先のシステムが、データを求めるアプリケーションごとに判定する条件(--application で確認できます):",
        });
        for clause in left {
            text.push_str(&format!("\n  - {clause}"));
        }
    }
    let duties: Vec<_> = (site.rules.policy(policy).into_iter())
        .flat_map(|policy| &policy.template.obligations)
        .map(|duty| explain::duty(duty, language))
        .collect();
    if judged.is_some() && !duties.is_empty() {
        text.push_str(match language {
            English => "\nWhat the partner must do:",
            Japanese => "\n取引先の義務:",
        });
        for duty in duties {
            text.push_str(&format!("\n  - {duty}"));
        }
    }
    text
}

fn change_text(change: &Change, partner: &Partner, language: Language) -> String {
    let name = &partner.name;
    let list = |actions: &std::collections::BTreeSet<String>| {
        let names: Vec<_> =
            actions.iter().map(|action| explain::action(action, language)).collect();
        names.join(", ")
    };
    match (change, language) {
        (Change::Purpose(purpose), English) => format!("declare the purpose `{purpose}`"),
        (Change::Purpose(purpose), Japanese) => format!("利用目的「{purpose}」を申告する"),
        (Change::At(at), English) => format!("ask at {at}"),
        (Change::At(at), Japanese) => format!("日時を {at} とする"),
        (Change::Done(actions), English) => format!("do before: {}", list(actions)),
        (Change::Done(actions), Japanese) => format!("事前に行う: {}", list(actions)),
        (Change::Group(group), English) => {
            format!("put the partner into the group `{group}`, in partners/{name}.toml")
        }
        (Change::Group(group), Japanese) => {
            format!("partners/{name}.toml で取引先をグループ「{group}」に入れる")
        }
        (Change::Region(region), English) => {
            format!("were the partner's region `{region}`, in partners/{name}.toml")
        }
        (Change::Region(region), Japanese) => {
            format!("取引先の地域が「{region}」である場合(partners/{name}.toml)")
        }
        (Change::FewerUses, English) => "raise the limit of uses in the policy".to_owned(),
        (Change::FewerUses, Japanese) => "ポリシーの利用回数の上限を上げる".to_owned(),
        (Change::Resumed, English) => {
            format!("let the partner in again: sekisho partner resume {name}")
        }
        (Change::Resumed, Japanese) => {
            format!("取引先の停止を解除する: sekisho partner resume {name}")
        }
        (Change::Named { policy }, English) => {
            format!("name the partner, or a group of it, in [who] of the policy `{policy}`")
        }
        (Change::Named { policy }, Japanese) => {
            format!("ポリシー「{policy}」の [who] に取引先またはそのグループを加える")
        }
    }
}

/// Why it is denied, in Japanese. The clause is rendered from the policy; facts stand in the question above.
fn japanese(ground: &Ground, policy: &CompiledPolicy) -> String {
    let template = &policy.template;
    match ground {
        Ground::OnlyOffered => {
            "合意が成立するまでは、提供条件だけで許可されることはありません".to_owned()
        }
        Ground::OtherAssignee { expected, .. } => {
            format!("このポリシーの対象者は「{expected}」です")
        }
        Ground::OtherTarget { expected, .. } => {
            format!("このポリシーの対象データは「{expected}」です")
        }
        Ground::UnknownAction { action } => format!("「{action}」は ODRL の行為ではありません"),
        Ground::NotUnderstood { clause, .. } => format!("「{clause}」は解釈できません"),
        Ground::NoPermission { action } => {
            format!("「{}」を許可する条項がありません", explain::action(action, Japanese))
        }
        Ground::Condition { permission, report } => {
            let rule = template.permissions.get(*permission);
            let clause = rule.and_then(|rule| constraint(rule, &report.clause)).map_or_else(
                || report.clause.clone(),
                |constraint| explain::condition(constraint, Japanese),
            );
            format!("条件を満たしません: {clause}")
        }
        Ground::Duty { permission, report } => {
            let rule = template.permissions.get(*permission);
            let mut duties = rule.iter().flat_map(|rule| &rule.duties);
            let duty = duties.find(|duty| expression::write_duty(duty) == report.clause);
            let clause =
                duty.map_or_else(|| report.clause.clone(), |duty| explain::duty(duty, Japanese));
            format!("先に行う必要があります: {clause}")
        }
        Ground::Prohibited { prohibition, clause } => {
            let rule = template.prohibitions.get(*prohibition);
            rule.map_or_else(|| clause.clone(), |rule| explain::prohibition(rule, Japanese))
        }
        Ground::Restricted { clause, reason } => {
            format!("当サイト全体の制限「{clause}」により許可されません(理由: {reason})")
        }
        Ground::Conflict { permission, prohibition } => format!(
            "許可{}と禁止{}が矛盾するため、ポリシー全体が無効です",
            permission + 1,
            prohibition + 1
        ),
    }
}

fn constraint<'a>(rule: &'a Rule, clause: &str) -> Option<&'a Constraint> {
    rule.constraints.iter().find(|item| expression::write(item) == clause)
}
