//! What touches the disk: finding the file, its mode, and whose secrets are fetched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::{ConfigError, Environment, Settings};
use super::{CANARY, authority, file};

/// A directory that is removed with its contents.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let directory = std::env::temp_dir().join(format!("qcc-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Scratch(directory)
    }

    pub fn write(&self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn load(path: &Path, only: Option<&str>) -> Result<Settings, ConfigError> {
    Settings::load(Some(path), only, &Environment::from_map([("MAIN_KEY", "sk-main")]))
}

fn by_env(text: &str, variable: &str) -> String {
    text.replace(&format!("\"{CANARY}\""), &format!("{{ env = \"{variable}\" }}"))
}

#[test]
fn a_file_with_a_literal_key_that_others_can_read_is_refused() {
    let scratch = Scratch::new("mode");
    for (mode, text, refused) in [
        (0o600, file("", ""), false),
        (0o400, file("", ""), false),
        (0o644, file("", ""), true),
        (0o640, file("", ""), true),
        (0o602, file("", ""), true),
        (0o644, by_env(&file("", ""), "MAIN_KEY"), false),
        (0o644, by_env(&file("client_tokens = [\"t\"]", ""), "MAIN_KEY"), true),
    ] {
        let result = load(&scratch.write("config.toml", mode, &text), None);
        assert_eq!(result.is_err(), refused, "{mode:o} {result:?}");
        if let Err(error) = result {
            let shown = error.to_string();
            assert!(shown.contains("chmod 600") && shown.contains(&format!("mode {mode:04o}")), "{shown}");
            assert!(!shown.contains(CANARY) && shown.contains("config.toml:"), "{shown}");
        }
    }
}

#[test]
fn a_missing_key_of_another_cluster_stops_nothing() {
    let scratch = Scratch::new("only");
    let broken = by_env(&file("", ""), "NOT_SET").replace("clusters.work", "clusters.broken");
    let path = scratch.write("config.toml", 0o600, by_env(&file("", ""), "MAIN_KEY") + &broken);
    let settings = load(&path, Some("work")).unwrap();
    assert_eq!(settings.names, ["broken", "work"]);
    assert_eq!(settings.clusters.keys().collect::<Vec<_>>(), ["work"]);
    assert_eq!(settings.cluster(Some("work")).unwrap().endpoints[0].api_key.expose(), "sk-main");
    let shown = load(&path, None).unwrap_err().to_string();
    assert!(
        shown.contains("clusters.broken.endpoints[0].api_key: the environment variable NOT_SET is not set"),
        "{shown}"
    );
    let names = Settings::load_names(Some(&path), &Environment::from_map([])).unwrap();
    assert!(names.clusters.is_empty() && names.cluster_name(Some("broken")).is_ok());
}

#[test]
fn no_command_runs_while_the_file_has_other_problems() {
    let scratch = Scratch::new("vain");
    let mark = scratch.0.join("ran");
    let command = format!("{{ command = [\"touch\", {:?}] }}", mark.display().to_string());
    let text = file("", "").replace(&format!("\"{CANARY}\""), &command);
    let bad = scratch.write("bad.toml", 0o600, text.clone() + "weight = 0\n");
    assert!(load(&bad, None).is_err() && !mark.exists());
    let good = scratch.write("good.toml", 0o600, text);
    assert!(load(&good, None).unwrap_err().to_string().contains("the key is empty") && mark.exists());
}

#[test]
fn a_key_file_may_stand_beside_the_configuration() {
    let scratch = Scratch::new("beside");
    scratch.write("main.key", 0o600, "sk-from-file\n");
    let text = file("", "").replace(&format!("\"{CANARY}\""), "{ file = \"main.key\" }");
    let settings = load(&scratch.write("config.toml", 0o644, text), None).unwrap();
    assert_eq!(settings.cluster(None).unwrap().endpoints[0].api_key.expose(), "sk-from-file");
}

#[test]
fn a_file_that_cant_be_read_is_told_with_its_path() {
    let scratch = Scratch::new("unreadable");
    let missing = load(&scratch.0.join("none.toml"), None).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("none.toml: there is no such file\n  write a first one with `qcc config init`")
    );
    for path in [
        scratch.0.clone(),
        scratch.write("binary.toml", 0o600, b"\xff\xfe"),
        scratch.write("large.toml", 0o600, "#".repeat(1 << 21)),
    ] {
        let error = load(&path, None).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn a_ca_file_may_stand_beside_the_configuration_and_must_hold_certificates() {
    let scratch = Scratch::new("ca");
    scratch.write("good.pem", 0o644, format!("{0}{0}", authority()));
    scratch.write("empty.pem", 0o644, "");
    scratch.write("text.pem", 0o644, "no certificate here\n");
    scratch.write("cut.pem", 0o644, &authority()[..80]);
    scratch.write("wrong.pem", 0o644, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let with = |name: &str| {
        let text = by_env(&file(&format!("ca_file = \"{name}\""), ""), "MAIN_KEY");
        load(&scratch.write("config.toml", 0o644, text), None)
    };
    let settings = with("good.pem").unwrap();
    assert_eq!(settings.cluster(None).unwrap().ca_file.as_ref().unwrap().certificates().len(), 2);
    for (name, what) in [
        ("none.pem", "can't be read"),
        ("empty.pem", "holds no certificate"),
        ("text.pem", "holds no certificate"),
        ("cut.pem", "is not valid PEM"),
        ("wrong.pem", "holds a certificate that is not valid"),
        (".", "is not a regular file"),
    ] {
        let shown = with(name).unwrap_err().to_string();
        assert!(shown.contains("config.toml:2: clusters.work.ca_file: ") && shown.contains(what), "{shown}");
        assert!(shown.contains(name), "{shown}");
    }
}

#[test]
fn a_proxys_password_counts_as_a_written_out_secret() {
    let scratch = Scratch::new("proxy");
    for (mode, proxy, refused) in [
        (0o600, "http://user:canary@proxy.lan:3128", false),
        (0o644, "http://user:canary@proxy.lan:3128", true),
        (0o644, "http://proxy.lan:3128", false),
    ] {
        let text = by_env(&file(&format!("proxy = \"{proxy}\""), ""), "MAIN_KEY");
        let result = load(&scratch.write("config.toml", mode, &text), None);
        assert_eq!(result.is_err(), refused, "{mode:o} {proxy} {result:?}");
        if let Err(error) = result {
            let shown = error.to_string();
            assert!(
                shown.contains("clusters.work.proxy: is written out") && !shown.contains("canary"),
                "{shown}"
            );
        }
    }
}
