use super::*;

#[tokio::test]
async fn phases_only_move_forward() {
    let shutdown = Shutdown::new();
    assert_eq!(shutdown.phase(), Phase::Running);
    shutdown.stop();
    shutdown.drain();
    assert_eq!(shutdown.phase(), Phase::Stopping);
    shutdown.draining().await;
    shutdown.stopping().await;
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_stops() {
    let shutdown = Shutdown::new();
    shutdown.follow_signals().expect("signal handlers");
    let us = rustix::process::getpid();
    rustix::process::kill_process(us, rustix::process::Signal::TERM).expect("signal");
    shutdown.draining().await;
    assert_eq!(shutdown.phase(), Phase::Draining);
    rustix::process::kill_process(us, rustix::process::Signal::INT).expect("signal");
    shutdown.stopping().await;
}
