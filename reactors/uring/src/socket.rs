//! Listening sockets, and the socket options of iSCSI connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

/// A socket that listens on `address`, ready for
/// [`Driver::add_listener`](crate::Driver::add_listener).
///
/// IPv6 sockets are IPv6-only, so that a node can listen on both `0.0.0.0` and `[::]`.
pub fn listen(address: SocketAddr, backlog: u16) -> Result<OwnedFd, ListenError> {
    let refused = |errno| ListenError::new(address, errno);
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(refused)?;
    // A restarted daemon must not wait for old connections to time out.
    sockopt::set_socket_reuseaddr(&socket, true).map_err(refused)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).map_err(refused)?;
    }
    net::bind(&socket, &address).map_err(refused)?;
    net::listen(&socket, i32::from(backlog)).map_err(refused)?;
    Ok(socket)
}

/// The address to which a socket is bound.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(socket)?)?)
}

/// The address of the peer.
pub fn peer_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    let address =
        net::getpeername(socket)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    Ok(SocketAddr::try_from(address)?)
}

/// The options of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Idle time before the first keepalive probe.
    pub keepalive_idle: Duration,
    /// How long sent data may stay unacknowledged before the connection is dropped. Also limits
    /// how long a peer may keep its window closed.
    pub user_timeout: Duration,
    /// Size of the kernel's send buffer; autotuned if `None`.
    pub send_buffer_bytes: Option<usize>,
    /// Size of the kernel's receive buffer; autotuned if `None`.
    pub receive_buffer_bytes: Option<usize>,
    /// The congestion control algorithm; the system default if `None`.
    pub congestion: Option<String>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            keepalive_idle: Duration::from_secs(30),
            user_timeout: units::limits::SEND_STALL_TIME_MAX,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            congestion: None,
        }
    }
}

/// Sets the options of a connection. Responses are sent as a whole, so delaying them to fill a
/// segment (Nagle) would only add latency.
pub fn tune(socket: impl AsFd, tuning: &Tuning) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, tuning.keepalive_idle)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    // The option ends at 49 days, and no peer is waited for that long.
    let timeout_ms = u32::try_from(tuning.user_timeout.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(socket, timeout_ms)?;
    if let Some(bytes) = tuning.send_buffer_bytes {
        sockopt::set_socket_send_buffer_size(socket, bytes)?;
    }
    if let Some(bytes) = tuning.receive_buffer_bytes {
        sockopt::set_socket_recv_buffer_size(socket, bytes)?;
    }
    if let Some(name) = &tuning.congestion {
        sockopt::set_tcp_congestion(socket, name)?;
    }
    Ok(())
}

/// Bytes that the peer of a TCP connection has acknowledged and bytes that have come from it, in
/// all.
pub(crate) fn bytes_moved(socket: impl AsFd) -> Option<u64> {
    let mut info = [0_u64; TCP_INFO_WORDS];
    let mut bytes = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the kernel writes at most `bytes` bytes to `info`, which has so many and lives until
    // the call returns; any bytes make a valid array of integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let [.., acknowledged, received] = info;
    (result == 0 && bytes as usize == size_of_val(&info)).then(|| acknowledged + received)
}

/// `struct tcp_info` of the kernel up to `tcpi_bytes_acked` and `tcpi_bytes_received` (Linux 4.1).
const TCP_INFO_WORDS: usize = 17;

/// Bytes of payload that the kernel buffers for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// Data sent and not yet acknowledged.
    pub send_bytes: usize,
    /// Data received and not yet read.
    pub receive_bytes: usize,
}

/// Sets fixed send and receive buffer sizes for a listening socket and all connections accepted
/// on it from then on, instead of autotuned ones. Returns the actual sizes, which the kernel
/// limits to `net.core.wmem_max` and `net.core.rmem_max`.
///
/// # Errors
/// The error of the kernel; does not occur for TCP sockets.
pub fn set_buffers(socket: impl AsFd, bytes: usize) -> io::Result<BufferSizes> {
    let socket = socket.as_fd();
    sockopt::set_socket_send_buffer_size(socket, bytes)?;
    sockopt::set_socket_recv_buffer_size(socket, bytes)?;
    // The kernel doubles the size for its bookkeeping, and reports the doubled size.
    Ok(BufferSizes {
        send_bytes: sockopt::socket_send_buffer_size(socket)? / 2,
        receive_bytes: sockopt::socket_recv_buffer_size(socket)? / 2,
    })
}

/// Why listening failed.
#[derive(Debug)]
pub enum ListenError {
    /// No interface of this machine has the address.
    AddressNotHere {
        /// The requested address.
        address: SocketAddr,
    },
    /// The address is in use.
    AddressTaken {
        /// The requested address.
        address: SocketAddr,
    },
    /// Permission denied.
    Denied {
        /// The requested address.
        address: SocketAddr,
    },
    /// Any other error of the kernel.
    Kernel {
        /// The requested address.
        address: SocketAddr,
        /// The error.
        source: io::Error,
    },
}

impl ListenError {
    fn new(address: SocketAddr, errno: Errno) -> Self {
        match errno {
            Errno::ADDRINUSE => Self::AddressTaken { address },
            Errno::ADDRNOTAVAIL => Self::AddressNotHere { address },
            Errno::ACCESS | Errno::PERM => Self::Denied { address },
            other => Self::Kernel { address, source: other.into() },
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressNotHere { address } => write!(
                f,
                "cannot listen on {address}: no interface has the address {}. Check `ip address`, \
                 or listen on all interfaces with 0.0.0.0 or [::]",
                address.ip()
            ),
            Self::AddressTaken { address } => write!(
                f,
                "cannot listen on {address}: in use by another process, probably another iSCSI \
                 target. Check with `ss -ltnp 'sport = :{}'`",
                address.port()
            ),
            Self::Denied { address } => write!(
                f,
                "cannot listen on {address}: permission denied. Ports below 1024 require root or \
                 CAP_NET_BIND_SERVICE; the iSCSI port is 3260"
            ),
            Self::Kernel { address, source } => write!(f, "cannot listen on {address}: {source}"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::AddressNotHere { .. } | Self::AddressTaken { .. } | Self::Denied { .. } => None,
            Self::Kernel { source, .. } => Some(source),
        }
    }
}

/// Keepalive probes: a dead peer is detected 20 s after the idle time.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_port_in_use_is_reported_with_a_way_to_find_the_process() {
        let first = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = local_address(&first).unwrap();
        let error = listen(address, 16).unwrap_err();
        assert!(matches!(error, ListenError::AddressTaken { .. }));
        assert!(error.to_string().contains("in use by another process"));
    }

    #[test]
    fn an_address_of_another_machine_is_rejected() {
        let error = listen("192.0.2.1:3260".parse().unwrap(), 16).unwrap_err();
        assert!(matches!(error, ListenError::AddressNotHere { .. }));
    }

    #[test]
    fn both_families_listen_on_one_port_where_the_machine_has_both() {
        let Ok(six) = listen("[::]:0".parse().unwrap(), 16) else { return };
        let port = local_address(&six).unwrap().port();
        let four = listen(SocketAddr::from(([0, 0, 0, 0], port)), 16);
        assert!(!matches!(four, Err(ListenError::Kernel { .. })));
    }

    #[test]
    fn connections_have_the_buffers_of_their_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sizes = set_buffers(&listener, 32 << 10).unwrap();
        assert_eq!(sizes, BufferSizes { send_bytes: 32_768, receive_bytes: 32_768 });
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        tune(&accepted, &Tuning::default()).unwrap();
        assert_eq!(sockopt::socket_send_buffer_size(&accepted).unwrap(), 65_536);
        assert_eq!(sockopt::socket_recv_buffer_size(&accepted).unwrap(), 65_536);
    }

    #[test]
    fn a_tuned_connection_sends_at_once_and_gives_up_after_the_time_given() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(peer_address(&socket).unwrap(), listener.local_addr().unwrap());
        tune(&socket, &Tuning::default()).unwrap();
        assert!(socket.nodelay().unwrap());
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 90_000);
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 4);
    }
}
