//! What ODRL has no words for, in an ODRL file: to whom a policy is offered, on what, in which order, and who agrees.
//!
//! It stands in one member of the policy, under the words of our own form, so that an exported policy comes back as it was.

use super::{Audience, Handling, PRIORITIES, Words, expression};
use crate::set::CompiledPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The member of an ODRL policy that holds it.
pub(crate) const MEMBER: &str = "urn:sekisho:v1:offer";

/// To whom a policy is offered, on what, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Offering {
    who: Who,
    #[serde(default)]
    what: What,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    handling: Handling,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
}

/// As `[who]` of our own form.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Who {
    anyone_registered: bool,
    partners: BTreeSet<String>,
    groups: BTreeSet<String>,
    except_partners: BTreeSet<String>,
    except_groups: BTreeSet<String>,
}

/// As `[what]` of our own form.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct What {
    datasets: BTreeSet<String>,
    tags: BTreeSet<String>,
}

/// The same, checked.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) audience: Audience,
    pub(super) datasets: BTreeSet<String>,
    pub(super) tags: BTreeSet<String>,
    pub(super) priority: i32,
    pub(super) handling: Handling,
    pub(super) description: String,
}

/// Reads the member of a policy.
///
/// # Errors
/// What is wrong, and what would be right.
pub(super) fn read(member: &Value, words: &Words<'_>) -> Result<Offered, (String, String)> {
    let offering = Offering::deserialize(member).map_err(|error| {
        let help = "it has the members who, what, priority, handling and description, as `sekisho policy show --as odrl` writes them";
        (format!("`{MEMBER}`: {error}"), help.to_owned())
    })?;
    let Offering { who, what, priority, handling, description } = offering;
    if !who.anyone_registered && who.partners.is_empty() && who.groups.is_empty() {
        let help = "name `partners` or `groups`, or say \"anyone-registered\": true";
        return Err((
            format!("`{MEMBER}`: who names nobody, so nobody would see the offer"),
            help.to_owned(),
        ));
    }
    if !PRIORITIES.contains(&priority) {
        let help = format!("write a number from {} to {}", PRIORITIES.start(), PRIORITIES.end());
        return Err((format!("`{MEMBER}`: {priority} is no priority"), help));
    }
    for group in who.except_groups.iter().filter(|group| !words.groups.contains_key(*group)) {
        let near = words.groups.keys().find(|known| expression::is_near(known, group));
        if let Some(near) = near {
            return Err((
                format!("`{MEMBER}`: no partner is in a group `{group}`"),
                format!("did you mean `{near}`?"),
            ));
        }
    }
    let audience = Audience {
        anyone_registered: who.anyone_registered,
        partners: who.partners,
        groups: who.groups,
        except_partners: who.except_partners,
        except_groups: who.except_groups,
    };
    Ok(Offered {
        audience,
        datasets: what.datasets,
        tags: what.tags,
        priority,
        handling,
        description,
    })
}

/// A policy as an ODRL Set that stands by itself: read as a policy file of the same name, it is the same policy.
#[must_use]
pub fn export(policy: &CompiledPolicy) -> Value {
    let audience = policy.audience.clone();
    let offering = Offering {
        who: Who {
            anyone_registered: audience.anyone_registered,
            partners: audience.partners,
            groups: audience.groups,
            except_partners: audience.except_partners,
            except_groups: audience.except_groups,
        },
        what: What { datasets: policy.datasets.clone(), tags: policy.tags.clone() },
        priority: policy.priority,
        handling: policy.handling,
        description: policy.description.clone(),
    };
    let mut document = json!({
        "@context": "http://www.w3.org/ns/odrl.jsonld",
        "uid": policy.uid(),
        "dct:title": policy.title,
        MEMBER: offering,
    });
    if let (Some(members), Value::Object(terms)) =
        (document.as_object_mut(), policy.template.to_json_ld())
    {
        members.extend(terms);
    }
    document
}
