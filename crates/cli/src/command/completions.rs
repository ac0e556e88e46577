use crate::exit::Failure;
use crate::screen::Screen;
use clap::Args;
use clap_complete::Shell;

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  bash   primacy completions bash > /etc/bash_completion.d/primacy
  zsh    primacy completions zsh > \"${fpath[1]}/_primacy\"
  fish   primacy completions fish > ~/.config/fish/completions/primacy.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, screen: Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "primacy", &mut script);
    screen.write(&String::from_utf8_lossy(&script))?;
    Ok(())
}
