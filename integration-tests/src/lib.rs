//! Real daemons on loopback: the harness on which the suites, the demonstration, the crash suite and the benchmark stand.
//!
//! A [`scene::Scene`] is a temporary directory with sites in it. A [`site::Site`] was made by the real `sekisho init`, runs
//! the real `sekisho serve`, and is spoken to through the real command line. What no honest partner would do is done by
//! a [`peer::Peer`] (raw requests with certificates of one's choice), a [`connector::Connector`] (a partner's whole node,
//! played by the test), a [`line::Line`] (bytes that need not be HTTP), [`http2::Frames`] (HTTP/2 without its rules), a [`villain::Villain`] (a partner's server that answers
//! with any bytes), a [`window::Window`] (between two sites, to see what they say), an [`authority::Authority`] (certificates in anybody's name) and a [`proxy::Proxy`] (a bad line).
//! A foreign connector, the compatibility kit or a running [`edc::Edc`], meets a node through a [`gateway::Gateway`].
//!
//! Everything that is started is bounded in time, listens on loopback only, and is ended by its process id.

pub mod authority;
#[cfg(feature = "clock")]
pub mod clocked;
pub mod command;
pub mod connector;
pub mod edc;
pub mod files;
pub mod gateway;
pub mod http2;
pub mod judged;
pub mod line;
pub mod management;
pub mod narration;
pub mod peer;
pub mod plain;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scene;
pub mod schemas;
pub mod site;
pub mod villain;
pub mod wait;
pub mod window;
