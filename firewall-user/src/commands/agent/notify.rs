//! Telling systemd that the agent is there (`sd_notify(3)`).

use std::os::unix::net::UnixDatagram;

/// Sends a state, if somebody waits for it. Nobody is told when it cannot be sent: there is nobody.
pub(super) fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.send_to(state.as_bytes(), path);
    }
}
