//! What people use through a router: web, SSH, FTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use firewall_tests::{
    command::{self, Rampart},
    ssh::Ssh,
    topology::{CLIENT, CLIENT6, FAR_SERVER, FAR_SERVER6, ROUTER_SECOND, ROUTER_SECOND6},
};

use super::{By, Field, MASQUERADE, PATIENCE, accept, any, at, both, connect, listen};

/// Answers one request of HTTP with so many bytes.
fn serve(listener: TcpListener, size: usize) -> thread::JoinHandle<SocketAddr> {
    thread::spawn(move || {
        let (mut stream, peer) = accept(&listener);
        let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        while lines.next().is_some_and(|line| !line.expect("a line").is_empty()) {}
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n").expect("written");
        stream.write_all(&vec![b'x'; size]).expect("written");
        peer
    })
}

#[test]
fn curl_gets_pages_through_masquerade_and_from_a_published_server() {
    let rules = format!(
        "{MASQUERADE}
        chain d {{ type nat hook prerouting priority dstnat
            iifname \"eth1\" meta nfproto ipv4 tcp dport 80 dnat ip to 192.0.2.1:8080
            iifname \"eth1\" meta nfproto ipv6 tcp dport 80 dnat ip6 to [2001:db8:1::1]:8080
        }}"
    )
    .replace("iifname \"eth0\" accept;", "iifname \"eth0\" accept; tcp dport 8080 accept;");
    both(&rules, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        for (host, listening, asking, to) in [
            (server, at(FAR_SERVER, 80), client, FAR_SERVER.to_string()),
            (server, at(FAR_SERVER6, 80), client, format!("[{FAR_SERVER6}]")),
            (client, at(CLIENT, 8080), server, ROUTER_SECOND.to_string()),
            (client, at(CLIENT6, 8080), server, format!("[{ROUTER_SECOND6}]")),
        ] {
            let serving = serve(host.run(|| listen(listening)), 3_000_000);
            let words = [
                "-s",
                "-S",
                "--max-time",
                "60",
                "--noproxy",
                "*",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{size_download}",
            ];
            let url = format!("http://{to}/");
            let output = command::run(Some(asking), "curl", &[&words[..], &[&url]].concat(), "").success();
            assert_eq!(output.stdout, "200 3000000", "{:?} {to}", field.by);
            serving.join().expect("served");
        }
    });
}

#[test]
fn an_ssh_session_through_masquerade() {
    both(MASQUERADE, |field| {
        let (client, server) = (&field.routed.client, &field.routed.server);
        let ssh = Ssh::serve(server);
        ssh.wait(server, FAR_SERVER);
        let text = "0123456789abcdef\n".repeat(1 << 16);
        for address in [IpAddr::from(FAR_SERVER), IpAddr::from(FAR_SERVER6)] {
            let output = ssh.run(client, address, "cat; sleep 1; echo still", &text);
            assert_eq!(output, format!("{text}still\n"), "{:?} {address}", field.by);
        }
    });
}

/// A server's answer to PASV names its inner address and a port that no rule opens: the control connection goes on, the data
/// connection is dropped by the policy, which says so; and a helper that would do better is refused with a reason.
#[test]
fn passive_ftp_is_refused_clearly() {
    let rules = "table inet t {
        chain d { type nat hook prerouting priority dstnat; iifname \"eth1\" tcp dport 21 dnat ip to 192.0.2.1:21; }
        chain f { type filter hook forward priority filter; policy drop; ct state established,related accept; tcp dport 21 accept; }
    }";
    let field = Field::new(By::Rampart, rules);
    let (client, server) = (&field.routed.client, &field.routed.server);
    let control = client.run(|| listen(at(CLIENT, 21)));
    let answering = thread::spawn(move || {
        let (mut stream, _) = accept(&control);
        stream.write_all(b"220 ready\r\n").expect("written");
        let mut asked = [0; 6];
        stream.read_exact(&mut asked).expect("PASV");
        assert_eq!(&asked, b"PASV\r\n");
        stream.write_all(b"227 Entering Passive Mode (192,0,2,1,195,80)\r\n").expect("written");
        stream.read_exact(&mut asked).expect("QUIT");
    });
    let mut stream = server.run(|| connect(any(FAR_SERVER), at(ROUTER_SECOND, 21))).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a greeting");
    stream.write_all(b"PASV\r\n").expect("written");
    line.clear();
    lines.read_line(&mut line).expect("an answer");
    assert_eq!(line, "227 Entering Passive Mode (192,0,2,1,195,80)\r\n");
    let rampart = Rampart::on(&field.routed.router);
    for to in [at(CLIENT, 50_000), at(ROUTER_SECOND, 50_000)] {
        let data = server.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
        assert!(data.is_err(), "{to}");
    }
    let why = rampart.run(&["why", "--in", "eth1", "tcp", "198.51.100.1:40001", "192.0.2.1:50000"]).success().stdout;
    assert!(why.contains("policy drop of chain f"), "{why}");
    stream.write_all(b"QUIT\r\n").expect("written");
    answering.join().expect("answered");
    let helper = "table inet t { ct helper ftp { type \"ftp\" protocol tcp; }; chain c { type filter hook prerouting priority 0; tcp dport 21 ct helper set \"ftp\"; }; }";
    let refused = rampart.apply(helper);
    assert_ne!(refused.status, 0);
    assert!(refused.stderr.contains("helper"), "{}", refused.stderr);
    std::mem::forget(rampart);
}
