//! Between two sites, to see what they say: whoever holds the certificates of both can stand between them.
//!
//! The one that dials meets the other's server certificate here, and the other meets the dialler's client certificate: both take
//! it for their partner, as the nodes are the ones that users run. Every answer on its way is judged ([`crate::judged`]).

use anyhow::Result;

use crate::authority::Credential;
use crate::peer::Peer;
use crate::site::Site;
use crate::villain::{Answer, Asked, Villain};

/// What one site asks the other, and is answered, passes here. It ends when dropped.
#[derive(Debug)]
pub struct Window(Villain);

impl Window {
    /// Stands where `to` tells its partners that it is ([`crate::site::Plan::dialled_at`]), for the requests of `from` alone.
    ///
    /// # Errors
    /// When it cannot listen there, or a certificate cannot be read.
    pub fn between(from: &Site, to: &Site) -> Result<Self> {
        let address = to.origin().trim_start_matches("https://").parse()?;
        let credential = Credential::of_server(to)?;
        let node = Peer::of(from, to)?;
        let pass = move |asked: &Asked| {
            // An answer that was found wrong stays found; the one who asked gets none.
            let unavailable =
                |error: anyhow::Error| Answer::honest(503, &[], error.to_string().as_bytes());
            Answer::of(&node, asked).unwrap_or_else(unavailable)
        };
        Villain::serve(address, &credential, pass).map(Self)
    }

    /// How many requests passed.
    pub fn requests(&self) -> u64 {
        self.0.requests()
    }
}
