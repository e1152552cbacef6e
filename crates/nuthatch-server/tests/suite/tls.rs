//! Redis' protocol over TLS, with certificates made for each test.

use crate::harness::{Client, PATIENCE, Running, request};
use nuthatch_server::config::Config;
use nuthatch_server::tls::server_config;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and the certificates of a server and a client that it has signed, as files.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let signed = authority
            .self_signed(&authority_key)
            .expect("a certificate");
        fs::write(dir.path().join("ca.pem"), signed.pem()).expect("a file");
        let issuer = Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let signed = params.signed_by(&key, &issuer).expect("a certificate");
            fs::write(dir.path().join(format!("{name}.pem")), signed.pem()).expect("a file");
            let key_path = dir.path().join(format!("{name}.key"));
            fs::write(key_path, key.serialize_pem()).expect("a file");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        path.to_str().expect("a path that is text").to_owned()
    }

    fn serve(&self, more: &[(&str, &str)]) -> Running {
        let (cert, key, ca) = (
            self.path("server.pem"),
            self.path("server.key"),
            self.path("ca.pem"),
        );
        let mut settings = vec![
            ("tls-port", "free"),
            ("tls-cert-file", &cert),
            ("tls-key-file", &key),
            ("tls-ca-cert-file", &ca),
            ("tls-auth-clients", "no"),
        ];
        settings.extend_from_slice(more);
        Running::with(&settings)
    }

    /// A client's session that trusts the authority, and shows the certificate of `shown_by` if any.
    fn session(
        &self,
        version: &'static SupportedProtocolVersion,
        shown_by: Option<&Self>,
    ) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.path("ca.pem")).expect("a certificate");
        roots.add(authority).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots);
        let config = match shown_by {
            None => builder.with_no_client_auth(),
            Some(other) => {
                let chain =
                    CertificateDer::from_pem_file(other.path("client.pem")).expect("a certificate");
                let key = PrivateKeyDer::from_pem_file(other.path("client.key")).expect("a key");
                builder
                    .with_client_auth_cert(vec![chain], key)
                    .expect("a key that fits")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a session")
    }

    fn client(&self, server: &Running, version: &'static SupportedProtocolVersion) -> Client {
        let session = self.session(version, None);
        Client::connect_over(tls_port(server), |socket| {
            Box::new(StreamOwned::new(session, socket))
        })
    }

    /// Whether a client that shows the certificate of `shown_by` is served.
    fn is_served(&self, server: &Running, shown_by: Option<&Self>) -> bool {
        let session = self.session(&TLS13, shown_by);
        let mut stream = StreamOwned::new(session, connect(server));
        let mut reply = [0; 7];
        stream
            .write_all(b"PING\r\n")
            .and_then(|()| stream.read_exact(&mut reply))
            .is_ok_and(|()| reply == *b"+PONG\r\n")
    }
}

fn tls_port(server: &Running) -> u16 {
    server.server().config().tls_port
}

fn connect(server: &Running) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, tls_port(server))).expect("a listener");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    socket
}

#[test]
fn both_versions_carry_pipelines_and_values_of_many_records() {
    let certificates = Certificates::new();
    for threads in ["1", "2"] {
        let server = certificates.serve(&[("threads", threads)]);
        for version in [&TLS12, &TLS13] {
            let mut client = certificates.client(&server, version);
            let value: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
            assert_eq!(
                client.call_with(&[&b"SET"[..], b"large", &value]).text(),
                "OK"
            );
            let mut pipeline = Vec::new();
            for _ in 0..500 {
                pipeline.extend_from_slice(&request(&["INCR", "n"]));
            }
            pipeline.extend_from_slice(&request(&["GET", "large"]));
            pipeline.extend_from_slice(&request(&["DEL", "n"]));
            client.send(&pipeline);
            for number in 1..=500 {
                assert_eq!(client.read().integer(), number);
            }
            assert_eq!(client.read().bytes(), value);
            assert_eq!(client.read().integer(), 1);
        }
        server.client().check(&[("EXISTS large", ":1")]);
    }
}

#[test]
fn a_handshake_and_requests_in_pieces_of_one_byte_are_read() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[]);
    for version in [&TLS12, &TLS13] {
        let mut session = certificates.session(version, None);
        let mut socket = connect(&server);
        socket.set_nodelay(true).expect("an option");
        session
            .writer()
            .write_all(b"PING\r\n")
            .expect("room before the handshake");
        let mut reply = [0; 7];
        let mut received = 0;
        while received < reply.len() {
            let mut outgoing = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut outgoing).expect("a vector");
            }
            for byte in outgoing {
                socket.write_all(&[byte]).expect("the server reads");
            }
            assert!(session.read_tls(&mut socket).expect("an answer") > 0);
            session.process_new_packets().expect("what a server sends");
            while let Ok(read @ 1..) = session.reader().read(&mut reply[received..]) {
                received += read;
            }
        }
        assert_eq!(&reply, b"+PONG\r\n");
    }
}

#[test]
fn replies_wait_for_a_client_that_reads_late_and_come_whole() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[("threads", "1")]);
    let mut client = certificates.client(&server, &TLS13);
    let value = vec![b'v'; 100_000];
    client.call_with(&[&b"SET"[..], b"k", &value]);
    // More than the buffers of both sockets hold.
    let count = 200;
    for _ in 0..count {
        client.send_request(&["GET", "k"]);
    }
    server.client().check(&[("PING", "+PONG")]);
    for _ in 0..count {
        assert_eq!(client.read().bytes(), value);
    }
}

#[test]
fn a_session_ends_with_a_goodbye() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[]);
    let mut client = certificates.client(&server, &TLS13);
    client.send(b"QUIT\r\n");
    // A session without goodbye ends with an error, which the harness does not take for an end.
    assert_eq!(client.read_to_end(), b"+OK\r\n");
}

#[test]
fn certificates_of_clients_are_asked_for_as_the_setting_says() {
    let (ours, foreign) = (Certificates::new(), Certificates::new());
    for (setting, without, with_ours, with_foreign) in [
        ("yes", false, true, false),
        ("optional", true, true, false),
        ("no", true, true, true),
    ] {
        let server = ours.serve(&[("tls-auth-clients", setting)]);
        assert_eq!(ours.is_served(&server, None), without, "{setting}: none");
        let shown = ours.is_served(&server, Some(&ours));
        assert_eq!(shown, with_ours, "{setting}: ours");
        let shown = ours.is_served(&server, Some(&foreign));
        assert_eq!(shown, with_foreign, "{setting}: foreign");
    }
}

#[test]
fn who_does_not_begin_a_session_is_disconnected_and_others_are_served_meanwhile() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[("tls-handshake-timeout", "1"), ("threads", "1")]);
    let mut silent = connect(&server);
    let mut half = connect(&server);
    // The head of a record that never comes.
    half.write_all(&[22, 3, 1, 2, 0, 1])
        .expect("an open socket");
    let mut client = certificates.client(&server, &TLS13);
    client.check(&[("PING", "+PONG")]);
    for socket in [&mut silent, &mut half] {
        let mut received = Vec::new();
        socket.read_to_end(&mut received).expect("an end");
        assert_eq!(received, b"");
    }
    client.check(&[("PING", "+PONG")]);
}

#[test]
fn who_speaks_without_encryption_gets_an_alert_and_nothing_else() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[]);
    let mut socket = connect(&server);
    socket.write_all(b"PING\r\n").expect("an open socket");
    let mut received = Vec::new();
    socket.read_to_end(&mut received).expect("an end");
    assert_eq!(
        received.first(),
        Some(&21),
        "the kind of record of an alert"
    );
    server.client().check(&[("PING", "+PONG")]);
}

#[test]
fn wrong_files_are_named_with_their_setting() {
    let (ours, foreign) = (Certificates::new(), Certificates::new());
    let right = || {
        let mut config = Config::default();
        for (name, file) in [
            ("tls-cert-file", "server.pem"),
            ("tls-key-file", "server.key"),
            ("tls-ca-cert-file", "ca.pem"),
        ] {
            config.set(name, &ours.path(file)).expect("any path");
        }
        config
    };
    server_config(&right()).expect("files that belong together");
    fs::write(ours.path("text"), "no certificate").expect("a file");
    for (setting, path, reason) in [
        ("tls-cert-file", ours.path("missing"), "No such file"),
        (
            "tls-cert-file",
            ours.path("text"),
            "there is no certificate in it",
        ),
        ("tls-key-file", ours.path("server.pem"), "no items found"),
        (
            "tls-key-file",
            foreign.path("server.key"),
            "keys may not be consistent",
        ),
        (
            "tls-ca-cert-file",
            ours.path("text"),
            "there is no certificate in it",
        ),
    ] {
        let mut config = right();
        config.set(setting, &path).expect("any path");
        let error = server_config(&config)
            .expect_err("a wrong file")
            .to_string();
        assert!(
            error.starts_with(&format!("{setting}: {path}: ")),
            "{error}"
        );
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn redis_cli_connects_where_it_is_installed() {
    let certificates = Certificates::new();
    let server = certificates.serve(&[("tls-auth-clients", "yes")]);
    let output = Command::new("redis-cli")
        .args(["-h", "localhost", "--tls"])
        .args(["-p", &tls_port(&server).to_string()])
        .args(["--cacert", &certificates.path("ca.pem")])
        .args(["--cert", &certificates.path("client.pem")])
        .args(["--key", &certificates.path("client.key")])
        .args(["SET", "k", "v"])
        .output();
    match output {
        Ok(output) => assert_eq!(output.stdout, b"OK\n", "{output:?}"),
        Err(error) => eprintln!("redis-cli was not run: {error}"),
    }
}
