//! `dmaring-emulated`: emulated I/OAT functions for QEMU's `x-pci-proxy-dev`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
};

use clap::Parser;
use dmaring_emulated::server::{CONTROL_HELP, FunctionSpec, Server, ServerError, ServerOptions};
use nix::sys::signal::{SigSet, Signal};

/// Serves emulated I/OAT functions to QEMU, each as the remote end of an x-pci-proxy-dev.
///
/// Prints `ready` when every socket listens. Start QEMU then: connect to each function's socket and pass the
/// connection on as `-device x-pci-proxy-dev,bus=pcie.0,addr=SLOT,fd=N`; give `-qtest unix:PATH -qtest-log none`, a
/// machine of type q35 with intel-iommu, and `-accel tcg,thread=single`. Ends with 0 when QEMU has closed every
/// function's connection, or on SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "dmaring-emulated", version, after_help = CONTROL_HELP)]
struct Arguments {
    /// A function: slot=05.0,socket=PATH[,preset=skx|icx|bdx][,xfercap=LOG2][,version=3.3][,device-id=0x2021]
    /// [,channels=1][,fault-plan=PLAN], the plan last; once for each function.
    #[arg(long = "function", required = true, value_name = "SPEC")]
    functions: Vec<FunctionSpec>,
    /// Where to listen for QEMU's qtest connection.
    #[arg(long, value_name = "PATH")]
    qtest: PathBuf,
    /// Where to listen for control clients.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { functions, qtest, control } = Arguments::parse();
    match serve(&ServerOptions { functions, qtest, control }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dmaring-emulated: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &ServerOptions) -> Result<(), ServerError> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    // Before any thread is there, so that all have them blocked and one thread waits for them.
    signals.thread_block().map_err(|error| ServerError::Io(error.into()))?;
    let server = Server::bind(options)?;
    let stopper = server.stopper();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                stopper.stop();
            }
        })
        .map_err(ServerError::Io)?;
    println!("ready");
    io::stdout().flush().map_err(ServerError::Io)?;
    server.run()
}

/// An error with what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
