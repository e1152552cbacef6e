//! The near cache over TLS, with certificates made for the test.

use crate::servers::{Ours, ask};
use crate::tiers::{builder, heard, runtime};
use nuthatch_client::{BuildError, RemoteError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use tempfile::TempDir;

#[test]
fn over_tls_servers_and_clients_show_each_other_certificates() {
    let directory = TempDir::new().expect("a directory");
    let write = |name: &str, pem: &str| {
        let path = directory.path().join(name);
        fs::write(&path, pem).expect("a file");
        path.to_str().expect("text").to_owned()
    };
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority
        .self_signed(&authority_key)
        .expect("a certificate")
        .pem();
    let issuer = Issuer::new(authority, authority_key);
    let [server, client] = ["server", "client"].map(|_| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let signed = params.signed_by(&key, &issuer).expect("a certificate");
        (signed.pem(), key.serialize_pem())
    });
    let ours = Ours::with(&[
        ("tls-cert-file", &write("server.pem", &server.0)),
        ("tls-key-file", &write("server.key", &server.1)),
        ("tls-ca-cert-file", &write("ca.pem", &authority_pem)),
        ("tls-auth-clients", "yes"),
    ]);
    let url = format!("rediss://localhost:{}", ours.tls_port());
    runtime().block_on(async {
        let trusting = || builder(&url).tls_authorities(authority_pem.clone());
        let near = trusting()
            .tls_identity(client.0.clone(), client.1.clone())
            .build()
            .await
            .expect("built");
        near.insert("k".into(), "old".into())
            .await
            .expect("written");
        assert_eq!(near.get_local("k").as_deref(), Some("old"));
        let () = ask(&ours.url(), &["SET", "near:k", "new"]);
        heard(&near, 1).await;
        assert_eq!(near.get("k").await.expect("read").as_deref(), Some("new"));

        for refused in [builder(&url).build().await, trusting().build().await] {
            assert!(
                matches!(
                    refused,
                    Err(BuildError::Remote(RemoteError::Unavailable { .. }))
                ),
                "without {refused:?}"
            );
        }
        let nonsense = trusting().tls_identity("no", "pem").build().await;
        assert!(
            matches!(nonsense, Err(BuildError::Certificates { .. })),
            "{nonsense:?}"
        );
        let plain = builder(&ours.url())
            .tls_authorities(authority_pem.clone())
            .build()
            .await;
        assert!(
            matches!(
                plain,
                Err(BuildError::Invalid {
                    setting: "remote",
                    ..
                })
            ),
            "{plain:?}"
        );
    });
}
