//! A host behind a slow link: a network namespace of its own, a pair of virtual interfaces, and a
//! token bucket that limits what the target sends to it.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Program;

/// A link that is limited to some rate. It goes when this is dropped, with all that is on it.
#[derive(Debug)]
pub struct ShapedLink {
    ip: Program,
    namespace: String,
    /// The interface on the side of the target.
    interface: String,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

impl ShapedLink {
    /// Makes a link of a rate as `tc` understands it. Where this machine does not let us, the
    /// reason is printed and the test is skipped; with `POLLUX_REQUIRE_TOOLS=1` that is a failure.
    pub fn lay(rate: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            Program::skip("network namespaces need root");
            return None;
        }
        let (ip, tc) = (Program::find("ip", None)?, Program::find("tc", None)?);
        // No other process has these names and addresses; 198.18.0.0/15 is for measurements
        // (RFC 2544), and has room for a network of four addresses for each of 32768 processes.
        let pid = std::process::id();
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + pid % (1 << 15) * 4;
        let (near, far) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let (namespace, interface) = (format!("pollux-{pid}"), format!("plx{pid}"));
        // What has them now was left by a process that was killed, and had our number.
        ip.run(&["link", "delete", &interface]);
        ip.run(&["netns", "delete", &namespace]);
        let (made, said) = ip.run(&["netns", "add", &namespace]);
        if !made {
            Program::skip(&format!("no network namespace can be made: {}", said.trim()));
            return None;
        }
        let link = Self { ip, namespace, interface, near, far };
        link.connect();
        let shape = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"];
        tc.run_well(&[&["qdisc", "add", "dev", &link.interface][..], &shape].concat());
        Some(link)
    }

    fn connect(&self) {
        let (namespace, near_end) = (&*self.namespace, &*self.interface);
        let far_end = format!("{near_end}x");
        let (near, far) = (format!("{}/30", self.near), format!("{}/30", self.far));
        let peer = ["type", "veth", "peer", "name", &far_end, "netns", namespace];
        self.ip.run_well(&[&["link", "add", near_end][..], &peer].concat());
        self.ip.run_well(&["address", "add", &near, "dev", near_end]);
        self.ip.run_well(&["link", "set", near_end, "up"]);
        self.ip.run_well(&["-n", namespace, "address", "add", &far, "dev", &far_end]);
        self.ip.run_well(&["-n", namespace, "link", "set", &far_end, "up"]);
    }

    /// The address of the target on it.
    pub fn near(&self) -> Ipv4Addr {
        self.near
    }

    /// The address of the host behind it.
    pub fn far(&self) -> Ipv4Addr {
        self.far
    }

    /// The way into the namespace of the host behind it.
    pub fn entrance(&self) -> Entrance {
        Entrance { namespace: self.namespace.clone() }
    }
}

impl Drop for ShapedLink {
    fn drop(&mut self) {
        // The interface goes first: a socket in the namespace keeps that, and it the other end.
        // What fails is gone already, or was never made.
        self.ip.run(&["link", "delete", &self.interface]);
        self.ip.run(&["netns", "delete", &self.namespace]);
    }
}

/// The way into a network namespace.
#[derive(Clone, Debug)]
pub struct Entrance {
    namespace: String,
}

impl Entrance {
    /// Moves the calling thread into the namespace, for good: sockets that it makes from now on
    /// are there.
    pub fn enter(&self) -> io::Result<()> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }
}
