//! From settings to a server that runs: sockets, data threads, the control thread.

use crate::config::Config;
use crate::control::Control;
use crate::durability::{self, LoadError};
use crate::server::Server;
use crate::supervisor::Supervisor;
use crate::tls::{self, TlsError};
use crate::worker::{self, Listener, Worker};
use mio::net::{TcpListener, UnixListener};
use nuthatch::BuildError;
use nuthatch_storage::StorageError;
use nuthatch_storage::data_dir::DataDir;
use nuthatch_storage::disk::Disk;
use nuthatch_storage::disk::real::Directory;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{fs, io};

/// Why a server did not start, or ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address or path.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keyspace could not be made.
    #[error(transparent)]
    Keyspace(#[from] BuildError),
    /// The data directory cannot be used.
    #[error("data-dir {directory}: {error}")]
    Data {
        /// The directory.
        directory: String,
        /// Why.
        error: LoadError,
    },
    /// The users could not be read.
    #[error("{0}")]
    Users(String),
    /// The system refused something that every server needs.
    #[error("{what}: {error}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// Why it was refused.
        error: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |error| LaunchError::System { what, error }
}

/// A server that runs.
#[derive(Debug)]
pub struct Launched {
    server: Arc<Server>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    addresses: Vec<String>,
    first_port: Option<u16>,
    http: Option<std::net::TcpListener>,
    control: Control,
    durability: Option<durability::Threads>,
    supervisor: Supervisor,
}

impl Launched {
    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Where it listens, a line each.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The TCP port for clients of Redis, as bound.
    pub fn first_port(&self) -> Option<u16> {
        self.first_port
    }

    /// Where the dashboard is, if it is served.
    pub fn dashboard(&self) -> Option<String> {
        let mut address = self.http.as_ref()?.local_addr().ok()?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Some(format!("http://{address}/"))
    }

    /// With a supervisor that is told when the server is ready and when it ends.
    #[must_use]
    pub fn with_supervisor(mut self, supervisor: Supervisor) -> Self {
        self.supervisor = supervisor;
        self
    }

    /// Runs the control thread here, until the server ends.
    pub fn run(self) -> Result<(), LaunchError> {
        // Signals are heard already, so who is ready can also be asked to end.
        let status = format!("serving on {}", self.addresses.join(", "));
        let ready = || self.supervisor.ready(&status);
        self.control.run(&self.server, self.http, ready);
        self.supervisor.stopping();
        self.server.end();
        let mut ended = Ok(());
        for thread in self.threads {
            let result = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            ended = ended.and(result.map_err(system("data thread")));
        }
        if let Some(durability) = self.durability {
            // Nobody else writes any more: what the control thread has evicted must not come back either.
            self.server.keyspace.log_evictions();
            let finished = durability.finish();
            ended = ended.and(finished.map_err(|error| LaunchError::Data {
                directory: self.server.config().data_dir.clone(),
                error,
            }));
        }
        ended?;
        let path = &self.server.config().unixsocket;
        if !path.is_empty()
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(path, %error, "the socket could not be removed");
        }
        Ok(())
    }
}

/// The sockets that a server accepts clients from, listening already.
#[derive(Debug, Default)]
pub struct Sockets {
    /// TCP, for clients of Redis.
    pub redis: Vec<std::net::TcpListener>,
    /// TCP, for clients of Redis that speak TLS.
    pub tls: Vec<std::net::TcpListener>,
    /// TCP, for clients of memcached.
    pub memcached: Vec<std::net::TcpListener>,
    /// Unix sockets, for clients of Redis.
    pub unix: Vec<UnixListener>,
    /// TCP, for the dashboard, `/metrics` and the health checks.
    pub http: Option<std::net::TcpListener>,
}

impl Sockets {
    /// The sockets that the settings ask for.
    pub fn bind(config: &Config) -> Result<Self, LaunchError> {
        let mut sockets = Self {
            redis: listen_all(config, config.port)?,
            tls: listen_all(config, config.tls_port)?,
            memcached: listen_all(config, config.memcached_port)?,
            unix: Vec::new(),
            http: listen_http(config)?,
        };
        if !config.unixsocket.is_empty() {
            sockets.unix.push(listen_unix(config)?);
        }
        Ok(sockets)
    }
}

/// Starts a server on the sockets that the settings ask for.
pub fn launch(config: Config) -> Result<Launched, LaunchError> {
    let sockets = Sockets::bind(&config)?;
    launch_on(config, sockets)
}

/// Starts a server on `sockets`, whatever ports the settings name.
pub fn launch_on(config: Config, sockets: Sockets) -> Result<Launched, LaunchError> {
    launch_with(config, sockets, None)
}

/// As [`launch_on`], with what is kept on `disk`, whatever directory the settings name. They must name one.
pub fn launch_on_disk(
    config: Config,
    sockets: Sockets,
    disk: Arc<dyn Disk>,
) -> Result<Launched, LaunchError> {
    launch_with(config, sockets, Some(disk))
}

fn launch_with(
    config: Config,
    sockets: Sockets,
    disk: Option<Arc<dyn Disk>>,
) -> Result<Launched, LaunchError> {
    raise_file_limit(config.maxclients);
    let threads = match config.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads.into(),
    };
    let mut addresses = Vec::new();
    let mut first_port = None;
    let mut listeners = Vec::new();
    for listener in sockets.redis {
        let (listener, bound) = adopt(listener)?;
        first_port.get_or_insert(bound.port());
        addresses.push(format!("redis       {bound}"));
        listeners.push(Listener::Tcp(listener));
    }
    if !sockets.tls.is_empty() {
        let tls = tls::server_config(&config)?;
        for listener in sockets.tls {
            let (listener, bound) = adopt(listener)?;
            addresses.push(format!("redis tls   {bound}"));
            listeners.push(Listener::Tls(listener, Arc::clone(&tls)));
        }
    }
    for listener in sockets.memcached {
        let (listener, bound) = adopt(listener)?;
        addresses.push(format!("memcached   {bound}"));
        listeners.push(Listener::Memcached(listener));
    }
    for listener in sockets.unix {
        addresses.push(format!("redis       {}", config.unixsocket));
        listeners.push(Listener::Unix(listener));
    }
    let data = open_data(&config, disk)?;
    let server = Server::new(config, threads, crate::clock::now_ms(), data)?;
    let aclfile = &server.config().aclfile;
    if !aclfile.is_empty() {
        server
            .acl
            .load(Path::new(aclfile))
            .map_err(LaunchError::Users)?;
    }
    let prepared = (0..threads)
        .map(worker::prepare)
        .collect::<io::Result<Vec<_>>>()
        .map_err(system("event queue"))?;
    let handles = prepared
        .iter()
        .map(|(_, handle)| Arc::clone(handle))
        .collect();
    server
        .observers
        .post
        .workers
        .set(handles)
        .expect("a server is launched once");
    let control = Control::new().map_err(system("control thread"))?;
    // Clients that come while it loads are told so.
    let durability = server
        .durability
        .as_ref()
        .map(|durability| durability::Threads::start(&server, durability))
        .transpose()
        .map_err(system("threads of durability"))?;
    let mut listeners = Some(listeners);
    let threads = prepared
        .into_iter()
        .map(|(poll, handle)| {
            let name = format!("data-{}", handle.id);
            // The first thread accepts for all.
            let listeners = listeners.take().unwrap_or_default();
            let server = Arc::clone(&server);
            let worker = Worker::new(server, poll, handle, listeners)?;
            thread::Builder::new()
                .name(name)
                .spawn(move || end_all_on_failure(worker))
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(system("data thread"))?;
    Ok(Launched {
        server,
        threads,
        addresses,
        first_port,
        http: sockets.http,
        control,
        durability,
        supervisor: Supervisor::default(),
    })
}

/// Claims the data directory, if the settings name one.
fn open_data(config: &Config, disk: Option<Arc<dyn Disk>>) -> Result<Option<DataDir>, LaunchError> {
    if config.data_dir.is_empty() {
        return Ok(None);
    }
    let failed = |error: StorageError| LaunchError::Data {
        directory: config.data_dir.clone(),
        error: error.into(),
    };
    let disk = disk.map_or_else(|| open_directory(config), Ok);
    disk.and_then(DataDir::open).map(Some).map_err(failed)
}

fn open_directory(config: &Config) -> Result<Arc<dyn Disk>, StorageError> {
    match Directory::open(&config.data_dir) {
        Ok(directory) => Ok(Arc::new(directory)),
        Err(error) => Err(StorageError::Io {
            action: "open",
            file: "the directory".to_owned(),
            error,
        }),
    }
}

/// Files that the process needs besides one per client.
const SPARE_FILES: u64 = 64;

/// Asks the system for as many open files as there may be clients.
fn raise_file_limit(maxclients: u32) {
    let wanted = u64::from(maxclients) + SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let granted = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised = Rlimit {
        current: Some(granted),
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, wanted, "the limit of open files could not be raised");
    } else if granted < wanted {
        tracing::warn!(
            granted,
            wanted,
            "maxclients needs more open files than the system allows"
        );
    }
}

/// A socket for the data threads, and its address.
fn adopt(listener: std::net::TcpListener) -> Result<(TcpListener, SocketAddr), LaunchError> {
    listener
        .set_nonblocking(true)
        .map_err(system("mode of a socket"))?;
    let bound = listener
        .local_addr()
        .map_err(system("address of a socket"))?;
    Ok((TcpListener::from_std(listener), bound))
}

/// A data thread that ends before its time takes the server with it: half a server would look alive
/// and lose clients' requests.
fn end_all_on_failure(worker: Worker) -> io::Result<()> {
    struct EndAll(Arc<Server>);
    impl Drop for EndAll {
        fn drop(&mut self) {
            self.0.end();
        }
    }
    let _end = EndAll(worker.server());
    worker.run()
}

/// Listens for browsers and scrapers; not if the port is 0.
fn listen_http(config: &Config) -> Result<Option<std::net::TcpListener>, LaunchError> {
    /// Connections that wait to be accepted.
    const BACKLOG: u32 = 128;
    if config.http_port == 0 {
        return Ok(None);
    }
    let address = SocketAddr::new(config.http_bind, config.http_port);
    match listen(address, BACKLOG) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => Err(LaunchError::Listen {
            address: format!("{address} (http-port; 0 serves no dashboard)"),
            error,
        }),
    }
}

struct TcpAddress {
    socket: SocketAddr,
    /// Whether the machine may lack it.
    is_optional: bool,
}

/// Listens on a port of all addresses that the settings name; on none if the port is 0.
fn listen_all(config: &Config, port: u16) -> Result<Vec<std::net::TcpListener>, LaunchError> {
    let mut listeners = Vec::new();
    if port == 0 {
        return Ok(listeners);
    }
    for address in tcp_addresses(config, port) {
        match listen(address.socket, config.tcp_backlog) {
            Ok(listener) => listeners.push(listener),
            Err(_) if address.is_optional => {}
            Err(error) => {
                return Err(LaunchError::Listen {
                    address: address.socket.to_string(),
                    error,
                });
            }
        }
    }
    Ok(listeners)
}

fn tcp_addresses(config: &Config, port: u16) -> Vec<TcpAddress> {
    let address = |text: &String| {
        let (text, is_optional) = match text.strip_prefix('-') {
            Some(text) => (text, true),
            None => (text.as_str(), false),
        };
        let ip = match text {
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            text => text
                .parse()
                .expect("addresses are checked when they are read"),
        };
        TcpAddress {
            socket: SocketAddr::new(ip, port),
            is_optional,
        }
    };
    config.bind.0.iter().map(address).collect()
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The same port on both versions is two sockets.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn listen_unix(config: &Config) -> Result<UnixListener, LaunchError> {
    let path = &config.unixsocket;
    let refused = |error| LaunchError::Listen {
        address: path.clone(),
        error,
    };
    // A socket that a killed server has left behind is in the way; one that answers is not ours.
    if fs::metadata(path).is_ok() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(refused(io::Error::from(io::ErrorKind::AddrInUse)));
        }
        fs::remove_file(path).map_err(refused)?;
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    if config.unixsocketperm.0 != 0 {
        let permissions = fs::Permissions::from_mode(config.unixsocketperm.0);
        fs::set_permissions(path, permissions).map_err(refused)?;
    }
    Ok(listener)
}
