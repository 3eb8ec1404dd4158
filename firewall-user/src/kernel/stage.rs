//! A network namespace of its own, with interfaces made for it: where a ruleset is tried that is in force nowhere.

use std::{fs, net::IpAddr, thread};

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkUnspec, LinkVeth};

use super::KernelError;

/// Interfaces and their addresses.
pub(super) type Interfaces = [(String, Vec<(IpAddr, u8)>)];

/// Does something in a fresh network namespace with these interfaces, all of them up and the host a router. It is gone
/// afterwards, and so is whatever was made in it.
pub fn on_stage<T: Send>(interfaces: &Interfaces, work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
    let play = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| KernelError::system("a network namespace")(errno.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.map_err(KernelError::system("netlink runtime"))?.block_on(build(interfaces))?;
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            // Without IPv6 in the kernel there is nothing to switch on.
            let _ = fs::write(format!("/proc/sys/net/{file}"), "1");
        }
        Ok(work())
    };
    thread::scope(|scope| match scope.spawn(play).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

async fn build(interfaces: &Interfaces) -> Result<(), KernelError> {
    let failed = |what: String| {
        move |error: rtnetlink::Error| KernelError::System { what, source: std::io::Error::other(error.to_string()) }
    };
    let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::system("netlink"))?;
    let connection = tokio::spawn(connection);
    for (number, (name, addresses)) in interfaces.iter().enumerate() {
        let add = handle.link().add(LinkVeth::new(name, &format!("far{number}")).build());
        add.execute().await.map_err(failed(format!("interface {name}")))?;
        for end in [name.clone(), format!("far{number}")] {
            let index = nix::net::if_::if_nametoindex(end.as_str())
                .map_err(|errno| KernelError::system(format!("interface {end}"))(errno.into()))?;
            let up = handle.link().set(LinkUnspec::new_with_index(index).up().build());
            up.execute().await.map_err(failed(format!("interface {end}")))?;
        }
        let index = nix::net::if_::if_nametoindex(name.as_str()).unwrap_or(0);
        for (address, length) in addresses {
            let add = handle.address().add(index, *address, *length);
            add.execute().await.map_err(failed(format!("address {address} of {name}")))?;
        }
    }
    connection.abort();
    Ok(())
}
