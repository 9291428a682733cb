//! RFC 7143 as pure state machines: PDUs, deframer, text keys, login, command window.
