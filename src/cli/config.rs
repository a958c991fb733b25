//! `qcc config`

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::args::ConfigCommand;
use super::exit::{Exit, Failure};
use super::{block_on, output};
use crate::app;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::{ClusterSettings, Environment, Settings, TEMPLATE, printable};

pub fn run(
    command: ConfigCommand,
    config: Option<&Path>,
    environment: &Environment,
) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Init => init(&environment.config_file(config)?),
        ConfigCommand::Check => check(config, environment),
        ConfigCommand::Path => {
            output::print(&format!("{}\n", shown(&environment.config_file(config)?)))?;
            Ok(Exit::Done)
        }
    }
}

fn init(path: &Path) -> Result<Exit, Failure> {
    block_on(async { app::survive_file_size_limit() })?.map_err(Failure::failed)?;
    write_new(path).map_err(|error| {
        Failure::failed(if error.kind() == ErrorKind::AlreadyExists {
            format!("{} is there already and is left as it is", shown(path))
        } else {
            format!("{} can't be written: {error}", shown(path))
        })
    })?;
    output::print(&format!("{}\n", shown(path)))?;
    output::tell(
        "a first configuration was written; edit it, then try `qcc config check` and \
         `qcc proxy start --cluster work`",
    );
    Ok(Exit::Done)
}

/// Never over a file that is there, or through a link; from its first moment on its owner's alone,
/// since keys may come to stand in it.
fn write_new(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // A part of it would stand in the way of the next try.
    file.write_all(TEMPLATE.as_bytes()).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Everything that a start would find wrong, but for what only the network can tell.
fn check(config: Option<&Path>, environment: &Environment) -> Result<Exit, Failure> {
    let settings = Settings::load(config, None, environment)?;
    block_on(async {
        for cluster in settings.clusters.values() {
            Cluster::new(cluster.clone(), Clock::start())
                .map_err(|error| Failure::usage(format!("cluster {}, {error}", cluster.name)))?;
        }
        Ok::<_, Failure>(())
    })??;
    let clusters: String = settings.clusters.values().map(summary).collect();
    output::print(&format!("{}: all right\n{clusters}", shown(&settings.path)))?;
    Ok(Exit::Done)
}

/// What the cluster comes to. No key, and no address but those that the status shows too.
fn summary(cluster: &ClusterSettings) -> String {
    let tokens = match cluster.client_tokens.len() {
        0 => String::new(),
        1 => ", 1 client token".to_owned(),
        many => format!(", {many} client tokens"),
    };
    let mut text = format!("cluster {} on http://{}{tokens}\n", cluster.name, cluster.listen);
    let name_width = cluster.endpoints.iter().map(|endpoint| endpoint.name.len()).max().unwrap_or(0);
    for endpoint in &cluster.endpoints {
        text.push_str(&format!(
            "  {:name_width$}  {}  {}  {}  {}  priority {}, weight {}{}\n",
            endpoint.name,
            endpoint.id,
            printable(endpoint.base_url.as_str()),
            endpoint.protocol,
            endpoint.billing,
            endpoint.priority,
            endpoint.weight,
            if endpoint.enabled { "" } else { ", not enabled" },
        ));
    }
    text
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_first_file_is_its_owners_alone_and_is_never_overwritten() {
        let base = std::env::temp_dir().join(format!("qcc-init-{}", std::process::id()));
        let path = base.join("qcc/config.toml");
        write_new(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&base.join("qcc"))), (0o600, 0o700));
        fs::write(&path, "mine").unwrap();
        let refused = init(&path).unwrap_err();
        let kept = fs::read_to_string(&path).unwrap();
        fs::remove_dir_all(&base).unwrap();
        assert_eq!((kept.as_str(), refused.exit), ("mine", Exit::Failed));
        assert!(refused.message.contains("there already"), "{}", refused.message);
    }

    #[test]
    fn the_summary_of_the_template_holds_no_key() {
        let environment = Environment::from_map([("ANTHROPIC_API_KEY", "sk-canary")]);
        let settings = crate::config::parse_str(TEMPLATE, Path::new("f"), &environment).unwrap();
        let text = summary(settings.cluster(None).unwrap());
        assert!(text.starts_with("cluster work on http://127.0.0.1:7860\n  main  "), "{text}");
        assert!(text.contains("https://api.anthropic.com  anthropic  per-token  priority 1"), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
