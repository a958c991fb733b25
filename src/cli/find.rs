//! Which running proxy a command is for.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::Which;
use super::client::Control;
use super::exit::{Exit, Failure};
use crate::config::{Environment, Settings};

/// The proxy of the cluster that was named; else the one that runs.
pub async fn proxy(
    which: &Which,
    config: Option<&Path>,
    environment: &Environment,
) -> Result<Control, Failure> {
    if let Some(cluster) = &which.cluster {
        let socket = environment.control_socket(cluster)?;
        return Ok(Control { cluster: cluster.clone(), socket });
    }
    let mut running = running(environment).await?;
    // A file that was named on the command line says which clusters are meant.
    let names = Settings::load_names(config, environment).map(|settings| settings.names);
    let names = match config {
        Some(_) => Some(names?),
        None => names.ok(),
    };
    if let (Some(_), Some(names)) = (config, &names) {
        running.retain(|control| names.contains(&control.cluster));
    }
    match choose(running.iter().map(|control| control.cluster.as_str()), names.as_deref()) {
        Choice::This(index) => Ok(running.swap_remove(index)),
        Choice::None(cluster) => Err(no_proxy(&cluster)),
        Choice::Several(names) => {
            Err(Failure::usage(format!("several proxies run\n  choose one with --cluster: {names}")))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    This(usize),
    /// None runs; a cluster to start.
    None(String),
    /// The clusters of those that run.
    Several(String),
}

/// Of the clusters that run, by the names in the configuration, where there is one.
fn choose<'a>(running: impl Iterator<Item = &'a str>, configured: Option<&[String]>) -> Choice {
    let running: Vec<&str> = running.collect();
    let only_configured = match configured {
        Some([only]) => Some(only.as_str()),
        Some(_) | None => None,
    };
    match running.as_slice() {
        [] => Choice::None(only_configured.unwrap_or("NAME").to_owned()),
        [_] => Choice::This(0),
        several => match several.iter().position(|name| Some(*name) == only_configured) {
            Some(index) => Choice::This(index),
            None => Choice::Several(several.join(", ")),
        },
    }
}

fn no_proxy(cluster: &str) -> Failure {
    let message = format!("no proxy runs\n  start one with `qcc proxy start --cluster {cluster}`");
    Failure { exit: Exit::NoProxy, message }
}

/// The proxies whose sockets take connections, by name.
async fn running(environment: &Environment) -> Result<Vec<Control>, Failure> {
    let directory = environment.control_dir()?;
    let mut running = Vec::new();
    for (cluster, socket) in sockets(&directory) {
        let control = Control { cluster, socket };
        if control.is_served().await {
            running.push(control);
        }
    }
    Ok(running)
}

fn sockets(directory: &Path) -> Vec<(String, PathBuf)> {
    // No directory, no proxy.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut sockets: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".sock")?.to_owned();
            Some((name, path))
        })
        .collect();
    sockets.sort();
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    fn chosen(running: &[&str], configured: Option<&[&str]>) -> Choice {
        let configured: Option<Vec<String>> =
            configured.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        choose(running.iter().copied(), configured.as_deref())
    }

    #[test]
    fn the_only_proxy_that_runs_is_meant() {
        assert_eq!(chosen(&["work"], None), Choice::This(0));
        assert_eq!(chosen(&["work"], Some(&["home", "work"])), Choice::This(0));
        assert_eq!(chosen(&["test"], Some(&["work"])), Choice::This(0));
    }

    #[test]
    fn among_several_the_only_cluster_of_the_file_is_meant() {
        assert_eq!(chosen(&["test", "work"], Some(&["work"])), Choice::This(1));
        for configured in [None, Some(["test", "work"].as_slice()), Some(["home"].as_slice())] {
            assert_eq!(chosen(&["test", "work"], configured), Choice::Several("test, work".to_owned()));
        }
    }

    #[test]
    fn where_none_runs_the_cluster_of_the_file_is_suggested() {
        assert_eq!(chosen(&[], Some(&["work"])), Choice::None("work".to_owned()));
        assert_eq!(chosen(&[], Some(&["a", "b"])), Choice::None("NAME".to_owned()));
    }

    #[tokio::test]
    async fn a_stale_socket_does_not_count() {
        let state = std::env::temp_dir().join(format!("qcc-find-{}", std::process::id()));
        let directory = state.join("qcc");
        fs::create_dir_all(&directory).unwrap();
        let _served = UnixListener::bind(directory.join("work.sock")).unwrap();
        drop(UnixListener::bind(directory.join("stale.sock")).unwrap());
        fs::write(directory.join("notes.txt"), "").unwrap();
        let environment =
            Environment::from_map([("XDG_RUNTIME_DIR", state.to_str().unwrap()), ("HOME", "/nowhere")]);
        let found = proxy(&Which { cluster: None }, None, &environment).await.map(|control| control.cluster);
        let missing = proxy(&Which { cluster: Some("stale".to_owned()) }, None, &environment).await.unwrap();
        let refused = missing.status().await.map(|_| ()).unwrap_err();
        fs::remove_dir_all(&state).unwrap();
        assert_eq!(found, Ok("work".to_owned()));
        assert_eq!(refused.exit, Exit::NoProxy);
        assert!(refused.message.contains("qcc proxy start --cluster stale"), "{}", refused.message);
    }
}
