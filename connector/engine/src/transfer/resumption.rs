//! The provider's start of a transfer that was suspended.

use policy::evaluate::Phase;
use protocol::id::Pid;

use super::{account, granted_agreement, provider};
use crate::context::{self, Context, Fresh, Stop};
use crate::entity::{Agreement, Transfer};
use crate::judge::{self, Uses};
use crate::refusal::RefusalKind;
use crate::{Key, RecordDraft, View};

/// A resumption that everything it rests on permits now.
pub(super) struct Resumption {
    agreement: Agreement,
}

impl Resumption {
    /// Judges again what was granted. A resumption is no further use.
    pub(super) fn judge(view: &dyn View, fresh: &Fresh, transfer: &Transfer) -> Result<Self, Stop> {
        let now = context::trusted_time(view, fresh)?;
        let agreement = granted_agreement(view, fresh, &transfer.participant, &transfer.agreement)?;
        let Some(partner) = context::partner(view, &transfer.participant)? else {
            return Err(fresh.not_found("the partner is gone"));
        };
        let dataset = provider::available(view, fresh, &agreement)?;
        let Some(grant) = &transfer.grant else {
            return Err(fresh.not_found("nothing was granted"));
        };
        if dataset.digests != grant.digests {
            let text = "the dataset has a new version; request a new transfer";
            return Err(fresh.refuse(RefusalKind::NewVersion, text, text));
        }
        let uses = Uses::in_progress(grant, transfer.way());
        let evaluation = judge::agreed(view, &partner, &agreement, Phase::Data, uses, now)?;
        judge::permit_or_refuse(fresh, &judge::name(&agreement), &evaluation)?;
        Ok(Self { agreement })
    }

    /// Owes the start, under a token of a new generation: the old one opens nothing any more.
    pub(super) fn start(
        &self,
        view: &dyn View,
        context: &Context,
        fresh: &Fresh,
        transfer: &mut Transfer,
        next_token: impl Fn(&Pid, u32) -> String,
    ) -> Result<RecordDraft, Stop> {
        let Some(grant) = transfer.grant.as_mut() else {
            return Err(fresh.not_found("nothing was granted"));
        };
        let old = Key::Token(grant.token_sha256.clone());
        grant.generation += 1;
        grant.token_sha256 = next_token(&transfer.pid, grant.generation);
        let (token, dataset) = (grant.provenance_sha256.clone(), grant.digests.sha256.clone());
        Ok(provider::start(view, context, fresh, transfer)?
            .account(account(transfer, &self.agreement.purpose))
            .digest("token", token)
            .digest("dataset", dataset)
            .remove(old))
    }
}
