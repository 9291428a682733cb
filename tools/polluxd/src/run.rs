//! The life of the process: look or serve, then end.

use crate::control::Server;
use crate::daemon::{Daemon, look, open};
use crate::flags::Flags;
use crate::settings::Settings;
use crate::start_fault::StartFault;
use std::io::Write;

/// Does what the flags say.
///
/// # Errors
/// Why not, for people.
pub(crate) fn run(flags: &Flags) -> Result<(), StartFault> {
    if flags.check || flags.print_config {
        return look_only(flags);
    }
    start_log(flags)?;
    if let Err(error) = reactor::signals::ignore_harmless() {
        tracing::warn!(%error, "cannot ignore SIGXFSZ, SIGUSR1 and SIGUSR2, which end polluxd");
    }
    let open_files = reactor::limits::raise_open_files();
    tracing::debug!(open_files, "raised the limit of open files");
    let (state, loaded) = open(flags)?;
    let settings = Settings::new(flags, &loaded.config, state.path());
    let mut server = Server::bind(&settings.control)?;
    let mut daemon = Daemon::start(settings, state, loaded, server.alarm())?;
    notify(&[sd_notify::NotifyState::Ready]);
    say_aside(daemon.greeting(&perfctl()));
    let served = server.run(&mut daemon).map_err(StartFault::ControlLoop);
    daemon.log_unfinished();
    served
}

fn look_only(flags: &Flags) -> Result<(), StartFault> {
    let (state_dir, loaded) = look(flags)?;
    let settings = Settings::new(flags, &loaded.config, &state_dir);
    if flags.print_config {
        say(&settings.text(&loaded.raw, &state_dir)?);
        return Ok(());
    }
    say(&format!(
        "{} is valid: volumes {}, targets {}, portals {}\n",
        loaded.file.display(),
        loaded.config.volumes.len(),
        loaded.config.targets.len(),
        settings.portals.len()
    ));
    Ok(())
}

/// Tells the service manager, where there is one.
pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not notify the service manager");
    }
}

fn start_log(flags: &Flags) -> Result<(), StartFault> {
    let filter = flags.log.clone().or_else(|| std::env::var("RUST_LOG").ok());
    crate::log::start(filter.unwrap_or_else(|| "info".into()))
}

/// Prints to the standard output. That nobody reads it is no reason not to serve.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The same on a thread of its own: the reader of a pipe may have stopped, and the control thread
/// does not wait for it.
fn say_aside(text: String) {
    let thread = std::thread::Builder::new().name("greeting".into()).spawn(move || say(&text));
    if let Err(error) = thread {
        tracing::warn!(%error, "cannot print the startup message");
    }
}

/// How perfctl is called: the one beside this program, where there is one and it is not found
/// by its name alone; through cargo, where cargo runs this program and has not built the other.
fn perfctl() -> String {
    let found_by_name = |directory: &std::path::Path| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|p| p == directory))
    };
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("perfctl"));
    match beside {
        Some(path) if path.exists() && !path.parent().is_some_and(found_by_name) => {
            path.display().to_string()
        }
        Some(path) if !path.exists() && std::env::var_os("CARGO_MANIFEST_DIR").is_some() => {
            "cargo run --release -p perfctl --".into()
        }
        Some(_) | None => "perfctl".into(),
    }
}
