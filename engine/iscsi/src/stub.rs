#![allow(missing_docs, clippy::all, unused)]
use crate::negotiation::*;
use crate::pdu::*;
use crate::*;
use std::net::*;
use units::*;
#[derive(Debug, Default)]
pub struct TextExchange;
impl TextExchange {
    pub fn handle_request(&mut self, r: &TextRequest, t: &[u8]) -> u32 {
        0
    }
}
#[derive(Debug, PartialEq)]
pub enum Admission_ {
    InOrder,
    Ignore,
}
#[derive(Debug)]
pub struct CommandWindow;
impl CommandWindow {
    pub fn new(f: Serial32, s: u32) -> Self {
        Self
    }
    pub fn admit(&mut self, c: Serial32) -> Admission_ {
        Admission_::Ignore
    }
    pub fn retire(&mut self) {}
    pub fn exp_cmd_sn(&self) -> Serial32 {
        Serial32(0)
    }
    pub fn max_cmd_sn(&self) -> Serial32 {
        Serial32(0)
    }
}
pub struct ChapCredentials {
    pub name: String,
    pub secret: Vec<u8>,
}
pub struct ChapPolicy {
    pub initiators: Vec<ChapCredentials>,
    pub target: Option<ChapCredentials>,
}
pub enum Authentication {
    None,
    Chap(ChapPolicy),
}
pub enum Admission {
    NotFound,
    Forbidden,
    Removed,
    ServiceUnavailable,
    Redirect { address: String, permanent: bool },
    Admitted { portal_group_tag: u16, alias: Option<String>, authentication: Authentication },
}
pub trait Directory {
    fn admit(&self, target: &str, initiator: &str, peer: IpAddr) -> Admission;
    fn discovery_authentication(&self) -> Authentication;
    fn visit_targets(
        &self,
        initiator: &str,
        peer: IpAddr,
        visit: &mut dyn FnMut(&str, &[(SocketAddr, u16)]),
    );
}
#[derive(Debug)]
pub struct Login;
#[derive(Debug, Clone)]
pub enum SessionType {
    Discovery,
    Normal { target_name: String, portal_group_tag: u16 },
}
#[derive(Debug, Clone)]
pub struct SessionRequest {
    pub initiator_name: String,
    pub isid: [u8; 6],
    pub tsih: u16,
    pub cid: u16,
    pub session_type: SessionType,
    pub parameters: Parameters,
    pub exp_cmd_sn: Serial32,
    pub stat_sn: Serial32,
}
pub enum LoginStep {
    Respond { header: LoginResponse, text: Vec<u8> },
    Refuse { header: LoginResponse, text: Vec<u8> },
    Establish(Box<SessionRequest>),
}
impl Login {
    pub fn new(p: Policy, a: SocketAddr, b: SocketAddr, s: Serial32) -> Self {
        Self
    }
    pub fn spent() -> Self {
        Self
    }
    pub fn handle_request(
        &mut self,
        r: &LoginRequest,
        t: &[u8],
        d: &dyn Directory,
        e: &mut dyn FnMut(&mut [u8]),
    ) -> LoginStep {
        todo!()
    }
    pub fn finish(&mut self, t: u16) -> (LoginResponse, Vec<u8>) {
        todo!()
    }
    pub fn refuse(&mut self, s: LoginStatus) -> (LoginResponse, Vec<u8>) {
        todo!()
    }
    pub fn refuse_other_pdu(&mut self, b: &Bhs) -> Option<(LoginResponse, Vec<u8>)> {
        None
    }
}
