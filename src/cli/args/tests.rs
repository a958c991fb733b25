use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood() {
    for line in [
        "qcc proxy start --cluster work --config /c/qcc.toml --listen 127.0.0.1:0",
        "qcc proxy stop --cluster work",
        "qcc status --cluster work --json --watch",
        "qcc check --cluster work main --method model-list --json",
        "qcc check --method chat",
        "qcc check --method network",
        "qcc endpoint drain main --cluster work",
        "qcc endpoint enable main",
        "qcc endpoint disable main",
        "qcc endpoint reset main",
        "qcc endpoint recheck main",
        "qcc config init",
        "qcc config check",
        "qcc config path --config f",
        "qcc completions bash",
        "qcc demo --log-format json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn config_and_log_format_may_stand_before_and_after_the_command() {
    for line in ["qcc --config f --log-format json status", "qcc status --log-format json --config f"] {
        let cli = parse(line).unwrap();
        assert_eq!((cli.config, cli.log_format), (Some("f".into()), LogFormat::Json), "{line}");
    }
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    for line in [
        "qcc",
        "qcc proxy",
        "qcc endpoint drain",
        "qcc check --method ping",
        "qcc status --cluster ../etc",
        "qcc endpoint drain a/b",
        "qcc completions tcsh2",
        "qcc frobnicate",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for line in ["qcc --help", "qcc --version", "qcc proxy start --help"] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 0, "{line}");
    }
}
