//! Redis' protocol over TLS 1.2 and 1.3: certificates from files, and a socket that encrypts.
//!
//! [`TlsStream`] behaves like a socket that never blocks, with two differences that its user must
//! respect, for events are told once: a read that does not fill the buffer may leave more behind in
//! the session, so reading goes on until it would block; and bytes that a write has taken may wait in
//! the session, so [`TlsStream::flush`] tells when they have left. The handshake is part of reading.

use crate::config::{ClientCertificates, Config};
use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Bytes, before encryption, that a session takes ahead of its socket.
const SESSION_BYTES: usize = 64 * 1024;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{setting}: {path}: {error}")]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// Why.
        error: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{setting}: {path}: there is no certificate in it")]
    NoCertificate {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
    },
    /// A certificate, or its key, is not accepted.
    #[error("{setting}: {path}: {error}")]
    Refused {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// Why.
        error: rustls::Error,
    },
    /// The authorities are not accepted.
    #[error("tls-ca-cert-file: {path}: {error}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        error: VerifierBuilderError,
    },
}

fn certificates(
    setting: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |error| TlsError::File {
        setting,
        path: path.to_owned(),
        error,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(refused)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            setting,
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// Reads the files that the settings name.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("tls-cert-file", &config.tls_cert_file)?;
    let path = &config.tls_key_file;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::File {
        setting: "tls-key-file",
        path: path.clone(),
        error,
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers for both versions");
    let builder = match config.tls_auth_clients {
        ClientCertificates::No => builder.with_no_client_auth(),
        asked => {
            let authorities = authorities(&config.tls_ca_cert_file)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(&provider));
            let verifier = match asked {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| {
                TlsError::Authorities {
                    path: config.tls_ca_cert_file.clone(),
                    error,
                }
            })?)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| {
        let (setting, path) = match error {
            // The certificate is right, and the key is another one's or of no known kind.
            rustls::Error::InconsistentKeys(_) | rustls::Error::General(_) => {
                ("tls-key-file", path)
            }
            _ => ("tls-cert-file", &config.tls_cert_file),
        };
        TlsError::Refused {
            setting,
            path: path.clone(),
            error,
        }
    })?;
    resume_sessions(&mut server);
    Ok(Arc::new(server))
}

fn authorities(path: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls-ca-cert-file", path)? {
        roots.add(certificate).map_err(|error| TlsError::Refused {
            setting: "tls-ca-cert-file",
            path: path.to_owned(),
            error,
        })?;
    }
    Ok(Arc::new(roots))
}

/// Lets clients come back with a ticket instead of a whole handshake, which costs a signature.
fn resume_sessions(server: &mut ServerConfig) {
    match ring::Ticketer::new() {
        Ok(ticketer) => server.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "TLS sessions will not be resumed"),
    }
}

/// A socket that encrypts; see the module's text.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
}

impl TlsStream {
    /// A session on a socket that was just accepted.
    pub fn new(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        session.set_buffer_limit(Some(SESSION_BYTES));
        Ok(Self { socket, session })
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the client has not proved yet that it speaks TLS.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the session holds bytes that the socket has not taken.
    pub fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    /// Reads what clients have sent. It would block only when session and socket are both empty.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let progress = self.session.process_new_packets();
            // The next step of a handshake, or the alert that says why there is none.
            self.flush()?;
            progress.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Encrypts and writes until the socket takes no more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while self.flush()? && taken < bytes.len() {
            match self.session.writer().write(&bytes[taken..])? {
                // A handshake is not over, and no more is kept until it is.
                0 => break,
                written => taken += written,
            }
        }
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    /// Writes what the session holds; `true` if it holds nothing any more.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Tells the client that nothing more will come, if there is a session and its socket takes it.
    pub fn say_goodbye(&mut self) {
        if self.is_handshaking() {
            return;
        }
        self.session.send_close_notify();
        if let Err(error) = self.flush() {
            tracing::debug!(%error, "a client is gone");
        }
    }
}
