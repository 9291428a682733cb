//! Requests and answers against their literal lines.

use super::*;

fn parse(line: &str) -> Result<Request, Response> {
    Request::parse(line.as_bytes())
}

fn error(line: &str) -> (Id, i64, String) {
    let response = parse(line).unwrap_err();
    let error = response.error.unwrap();
    (response.id, error.code.into(), error.message)
}

#[test]
fn a_request_is_read_with_its_parameters() {
    let line = r#"{"jsonrpc":"2.0","id":7,"method":"lun.map","params":
        {"target":"iqn.2026-11.local.pollux:demo","lun":3,"volume":"demo"}}"#;
    let call = Call::LunMap(LunMap {
        target: "iqn.2026-11.local.pollux:demo".into(),
        lun: Some(3),
        volume: "demo".into(),
        read_only: false,
    });
    assert_eq!(parse(line), Ok(Request { id: Id::Number(7), call }));
}

#[test]
fn parameters_may_be_left_out_where_none_are_needed() {
    let request = parse(r#"{"jsonrpc":"2.0","id":"a","method":"stats"}"#).unwrap();
    assert_eq!(request.id, Id::Text("a".into()));
    assert_eq!(request.call, Call::StatsQuery(StatsQuery::default()));
}

#[test]
fn a_request_is_written_as_json_rpc() {
    let request = Request {
        id: Id::Number(1),
        call: StatsQuery { since_last: true, ..StatsQuery::default() }.into(),
    };
    assert_eq!(
        request.to_value().unwrap().to_string(),
        r#"{"id":1,"jsonrpc":"2.0","method":"stats","params":{"since_last":true}}"#
    );
}

#[test]
fn every_method_round_trips_by_its_name() {
    let calls: Vec<Call> = vec![
        ConfigApply { file: Some("/etc/pollux.toml".into()), check_only: true, force: true }.into(),
        LunUnmap { target: "iqn.a".into(), lun: 1 }.into(),
        OperationCancel { id: 7 }.into(),
        OperationList {}.into(),
        OperationShow { id: 7 }.into(),
        OperationWait { id: 7 }.into(),
        SessionDrop { id: "0.1.2".into() }.into(),
        SessionList {}.into(),
        Shutdown {}.into(),
        StatusQuery {}.into(),
        TargetDelete { name: "iqn.a".into() }.into(),
        TargetList {}.into(),
        TargetSet {
            alias: Some(Change::Remove),
            initiators: Some(Change::Set(vec!["iqn.b".into()])),
            ..TargetSet::new("iqn.a")
        }
        .into(),
        VolumeDelete { name: "v".into(), remove_file: true }.into(),
        VolumeList {}.into(),
        VolumeCreate {
            name: "v".into(),
            kind: VolumeKind::Memory,
            path: None,
            size: Some("1GiB".into()),
            block_size: Some(4096),
            read_only: true,
            adopt: true,
        }
        .into(),
        TargetCreate {
            name: "iqn.a".into(),
            alias: Some("a".into()),
            portal_group: Some(2),
            initiators: Some(vec!["iqn.b".into()]),
        }
        .into(),
    ];
    for call in calls {
        let request = Request { id: Id::Number(1), call };
        let line = encode_line(&request.to_value().unwrap()).unwrap();
        assert_eq!(Request::parse(&line), Ok(request));
    }
}

#[test]
fn bad_lines_get_the_codes_of_json_rpc() {
    let (id, code, message) = error("{\"jsonrpc\"");
    assert_eq!((id, code), (Id::Null, -32700));
    assert!(message.starts_with("the request is not JSON: "), "{message}");

    let (id, code, _) = error(r#"{"jsonrpc":"1.0","id":4,"method":"stats"}"#);
    assert_eq!((id, code), (Id::Number(4), -32600));
    let (id, code, _) = error(r#"{"jsonrpc":"2.0","method":"stats"}"#);
    assert_eq!((id, code), (Id::Null, -32600));
    let (id, code, _) = error("[]");
    assert_eq!((id, code), (Id::Null, -32600));

    let (id, code, message) = error(r#"{"jsonrpc":"2.0","id":4,"method":"format"}"#);
    assert_eq!((id, code, &*message), (Id::Number(4), -32601, "unknown method \"format\""));

    let (_, code, message) =
        error(r#"{"jsonrpc":"2.0","id":4,"method":"stats","params":{"sinse_last":true}}"#);
    assert_eq!(code, -32602);
    assert_eq!(
        message,
        "invalid parameters of stats: unknown field `sinse_last`, expected one of \
         `since_last`, `histograms`, `volume`, `target`"
    );
}

#[test]
fn a_failure_carries_its_code_and_what_to_try() {
    let error =
        RpcError::new(ErrorCode::Busy, "volume demo is mapped").on("demo").hint("Unmap it first.");
    let response = Response::failure(Id::Number(2), error.clone());
    let line = String::from_utf8(encode_line(&response).unwrap()).unwrap();
    assert_eq!(
        line,
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-32003,\"message\":\"volume demo is \
         mapped\",\"data\":{\"object\":\"demo\",\"hint\":\"Unmap it first.\"}}}\n"
    );
    assert_eq!(serde_json::from_str::<Response>(&line).unwrap().error, Some(error));
}

#[test]
fn an_error_code_of_a_later_version_is_kept() {
    let code: ErrorCode = serde_json::from_str("-32050").unwrap();
    assert_eq!(code, ErrorCode::Unknown(-32050));
    assert_eq!(serde_json::to_string(&code).unwrap(), "-32050");
}

#[test]
fn a_failed_volume_says_why_in_its_own_fields() {
    let json = r#"{"name":"a","kind":"file","path":"/a","size_bytes":512,"block_size":512,
        "read_only":false,"wwid":null,"serial":null,"state":"failed","reason":"gone","luns":[]}"#;
    let info: VolumeInfo = serde_json::from_str(json).unwrap();
    assert_eq!(
        info.state,
        VolumeState::Failed { reason: "gone".into(), for_s: 0, retry_in_s: None }
    );
    let again = serde_json::to_value(&info).unwrap();
    assert_eq!(again["state"], "failed");
    assert_eq!(again["reason"], "gone");
}

#[test]
fn the_default_socket_name_is_part_of_the_interface() {
    assert_eq!(CONTROL_SOCKET_NAME, "control.sock");
}
