//! `perfctl shutdown`.

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;
use control_api::Shutdown;

/// Sends the request and prints the result.
pub(crate) fn run(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    output.answer(&client.call(Shutdown {})?, |answer| {
        format!("shutting down: asking {} sessions to log out", answer.sessions)
    })
}
