//! Messages of the transfer process protocol.

use serde_json::Value;

use super::wire::{Members, Node, Wire, put, put_explanation, put_pid, put_pids, term};
use super::{DataAddress, Explanation, Pids, WireError, WireFault};
use crate::id::{AgreementId, Pid};
use crate::path::BaseUrl;
use crate::transfer::WireState;

/// A consumer asks for data under an agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferRequestMessage {
    /// What the consumer calls the transfer.
    pub consumer_pid: Pid,
    /// The agreement.
    pub agreement_id: AgreementId,
    /// How the data shall come: the `format` of a distribution.
    pub format: String,
    /// Where the provider sends its messages.
    pub callback_address: BaseUrl,
    /// Where the provider shall push the data; nothing when the consumer pulls it.
    pub data_address: Option<DataAddress>,
}

/// A provider starts, or either side resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferStartMessage {
    /// The transfer.
    pub pids: Pids,
    /// Where the consumer pulls the data, when it does.
    pub data_address: Option<DataAddress>,
}

/// Either side suspends.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferSuspensionMessage {
    /// The transfer.
    pub pids: Pids,
    /// Why.
    pub explanation: Explanation,
}

/// Either side completes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferCompletionMessage {
    /// The transfer.
    pub pids: Pids,
}

/// Either side ends the transfer early.
#[derive(Debug, Clone, PartialEq)]
pub struct TransferTerminationMessage {
    /// The transfer.
    pub pids: Pids,
    /// Why.
    pub explanation: Explanation,
}

/// The answer to a transfer request and to a status request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferProcess {
    /// The transfer.
    pub pids: Pids,
    /// Its state as the answering side knows it.
    pub state: WireState,
}

impl Wire for TransferRequestMessage {
    const TYPE: &'static str = "TransferRequestMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            consumer_pid: node.required("consumerPid")?.id()?,
            agreement_id: node.required("agreementId")?.id()?,
            format: node.required("format")?.id_text()?.to_owned(),
            callback_address: node.required("callbackAddress")?.base_url()?,
            data_address: DataAddress::read_member(node)?,
        })
    }

    fn write(&self, members: &mut Members) {
        put_pid(members, "consumerPid", &self.consumer_pid);
        put(members, "agreementId", self.agreement_id.as_str());
        put(members, "format", &self.format);
        put(members, "callbackAddress", self.callback_address.as_str());
        DataAddress::write_member(self.data_address.as_ref(), members);
    }
}

impl Wire for TransferStartMessage {
    const TYPE: &'static str = "TransferStartMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, data_address: DataAddress::read_member(node)? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        DataAddress::write_member(self.data_address.as_ref(), members);
    }
}

impl Wire for TransferSuspensionMessage {
    const TYPE: &'static str = "TransferSuspensionMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        put_explanation(members, &self.explanation);
    }
}

impl Wire for TransferCompletionMessage {
    const TYPE: &'static str = "TransferCompletionMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
    }
}

impl Wire for TransferTerminationMessage {
    const TYPE: &'static str = "TransferTerminationMessage";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { pids: node.pids()?, explanation: node.explanation()? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        put_explanation(members, &self.explanation);
    }
}

impl Wire for TransferProcess {
    const TYPE: &'static str = "TransferProcess";

    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let place = node.required("state")?;
        let name = term(place.id_text()?);
        let state = WireState::ALL.into_iter().find(|state| state.as_str() == name);
        let unknown = || {
            let expected = "REQUESTED, STARTED, SUSPENDED, COMPLETED, TERMINATED";
            place.refuse(WireFault::Unknown { expected })
        };
        Ok(Self { pids: node.pids()?, state: state.ok_or_else(unknown)? })
    }

    fn write(&self, members: &mut Members) {
        put_pids(members, &self.pids);
        members.insert("state".to_owned(), Value::from(self.state.as_str()));
    }
}
