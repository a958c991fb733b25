//! From the sections of the file to settings that hold together.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::base_url::BaseUrl;
use super::ca_file;
use super::choices::AuthForm;
use super::error::Fault;
use super::keys;
use super::paths::Environment;
use super::read::{Section, wrong_type};
use super::schema::Form;
use super::secret::EndpointId;
use super::secret_form::{client_tokens, secret};
use super::settings::{ClusterSettings, EndpointSettings, HealthSettings, Timeouts, check_listen};
use super::values;

/// The clusters whose secrets are fetched. The others are checked in everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    Nothing,
    Cluster(&'a str),
    All,
}

impl Wanted<'_> {
    fn has(self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Cluster(wanted) => wanted == name,
            Self::All => true,
        }
    }
}

/// The names of all clusters, and the settings of the wanted ones.
pub(super) fn clusters(
    root: &Section<'_>,
    environment: &Environment,
    wanted: Wanted<'_>,
) -> (Vec<String>, BTreeMap<String, ClusterSettings>) {
    let (mut names, mut settings) = (Vec::new(), BTreeMap::new());
    let Some(value) = root.required("clusters") else { return (names, settings) };
    let Some(table) = value.get_ref().as_table() else {
        root.note("clusters", wrong_type(Form::Table, value.get_ref()));
        return (names, settings);
    };
    if table.is_empty() {
        root.note("clusters", Fault::new("has no cluster").help("a cluster begins with [clusters.NAME]"));
    }
    for (key, value) in table {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        if let Err(fault) = values::name(name) {
            root.source.note(at, "clusters", fault);
            continue;
        }
        names.push(name.to_owned());
        let path = format!("clusters.{name}");
        let DeValue::Table(table) = value.get_ref() else {
            root.source.note(at, &path, wrong_type(Form::Table, value.get_ref()));
            continue;
        };
        let section = Section::open(root.source, &keys::CLUSTER, path, at, table);
        let fetch_from = wanted.has(name).then_some(environment);
        if let (Some(cluster), true) = (cluster(name, &section, fetch_from), wanted.has(name)) {
            settings.insert(name.to_owned(), cluster);
        }
    }
    (names, settings)
}

fn cluster(name: &str, section: &Section<'_>, fetch_from: Option<&Environment>) -> Option<ClusterSettings> {
    let listen = section.address("listen");
    let admin_listen = section.address("admin_listen");
    let client_tokens = client_tokens(section, fetch_from);
    let retry_ambiguous = section.choice("retry_ambiguous");
    let ca_file = section.text("ca_file").zip(fetch_from).and_then(|(path, environment)| {
        let read = ca_file::read(&path, environment, section.source.directory());
        read.map_err(|fault| section.note("ca_file", fault)).ok()
    });
    if let Some(Err(fault)) = listen.map(|listen| check_listen(listen, client_tokens.len())) {
        section.note("listen", fault);
    }
    if admin_listen.is_some_and(|admin| Some(admin) == listen && admin.port() != 0) {
        section.note("admin_listen", Fault::new("must not be the same as listen"));
    }
    let (max_body_bytes, max_bodies_bytes) = (section.size("max_body"), section.size("max_bodies"));
    // Zero stands in for a value that was refused already.
    if max_bodies_bytes < max_body_bytes && max_bodies_bytes != 0 {
        section.note("max_bodies", Fault::new("must be at least max_body"));
    }
    Some(ClusterSettings {
        name: name.to_owned(),
        allowed_hosts: section.hosts("allowed_hosts"),
        queue_timeout: section.duration("queue_timeout"),
        drain_timeout: section.duration("drain_timeout"),
        max_body_bytes,
        max_bodies_bytes,
        max_attempts: section.count("max_attempts"),
        commit_after: section.duration("commit_after"),
        session_ttl: section.duration("session_ttl"),
        admin_listen,
        ca_file,
        proxy: section.proxy_url("proxy"),
        health: health(&section.table("health", &keys::HEALTH)),
        timeouts: timeouts(&section.table("timeouts", &keys::TIMEOUTS)),
        endpoints: endpoints(section, fetch_from),
        // What has no stand-in comes last, so that everything above has been looked at.
        retry_ambiguous: retry_ambiguous?,
        listen: listen?,
        client_tokens: client_tokens.into_iter().collect::<Option<_>>()?,
    })
}

fn health(section: &Section<'_>) -> HealthSettings {
    let settings = HealthSettings {
        failure_threshold: section.count("failure_threshold"),
        success_threshold: section.count("success_threshold"),
        backoff_base: section.duration("backoff_base"),
        backoff_max: section.duration("backoff_max"),
        auth_backoff_base: section.duration("auth_backoff_base"),
        auth_backoff_max: section.duration("auth_backoff_max"),
        quota_backoff: section.duration("quota_backoff"),
        check_interval: section.duration("check_interval"),
        check_timeout: section.duration("check_timeout"),
        check_model: section.text("check_model"),
        slow_start: section.duration("slow_start"),
        ratio_window: section.duration("ratio_window"),
        ratio_min_samples: section.count("ratio_min_samples"),
        ratio_threshold_millionths: section.fraction_millionths("ratio_threshold"),
    };
    // Zero stands in for a value that was refused already.
    if settings.backoff_max < settings.backoff_base && !settings.backoff_max.is_zero() {
        section.note("backoff_max", Fault::new("must be at least backoff_base"));
    }
    if settings.auth_backoff_max < settings.auth_backoff_base && !settings.auth_backoff_max.is_zero() {
        section.note("auth_backoff_max", Fault::new("must be at least auth_backoff_base"));
    }
    settings
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    Timeouts {
        connect: section.duration("connect"),
        first_byte: section.duration("first_byte"),
        answer: section.duration("answer"),
        idle: section.duration("idle"),
        client_header: section.duration("client_header"),
    }
}

/// The endpoints in the order of the file; fewer where keys weren't fetched or something is wrong.
fn endpoints(cluster: &Section<'_>, fetch_from: Option<&Environment>) -> Vec<EndpointSettings> {
    let Some(value) = cluster.required("endpoints") else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        let header = format!("write [[{}.endpoints]]", cluster.path);
        cluster.note("endpoints", wrong_type(Form::Tables, value.get_ref()).help(header));
        return Vec::new();
    };
    if items.is_empty() {
        cluster.note("endpoints", Fault::new("must have at least one endpoint"));
    }
    let mut names = BTreeMap::new();
    let mut endpoints: Vec<EndpointSettings> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let (path, at) = (format!("{}[{index}]", cluster.place("endpoints")), item.span().start);
        let DeValue::Table(table) = item.get_ref() else {
            cluster.source.note(at, &path, wrong_type(Form::Table, item.get_ref()));
            continue;
        };
        let section = Section::open(cluster.source, &keys::ENDPOINT, path.clone(), at, table);
        let endpoint = endpoint(&section, fetch_from);
        if let Some(first) =
            section.value("name").and_then(|name| names.insert(name.get_ref().as_str(), path))
        {
            section.note("name", Fault::new(format!("is the name of {first} already")));
        }
        let Some(endpoint) = endpoint else { continue };
        if let Some(twin) = endpoints.iter().find(|other| other.id == endpoint.id) {
            let what = format!("{} and {} have the same base_url and api_key", twin.name, endpoint.name);
            section.note("api_key", Fault::new(what).help(format!("both would be endpoint {}", endpoint.id)));
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn endpoint(section: &Section<'_>, fetch_from: Option<&Environment>) -> Option<EndpointSettings> {
    let name = section.name("name");
    let base_url = section.base_url("base_url");
    let api_key = secret(section, "api_key", fetch_from);
    let protocol = section.choice("protocol");
    let billing = section.choice("billing");
    let auth = section.choice("auth");
    let (priority, weight) = (section.count("priority"), section.count("weight"));
    let (models, model_map) = (section.globs("models"), section.model_map("model_map"));
    let enabled = section.flag("enabled");
    let (base_url, api_key) = (base_url?, api_key?);
    Some(EndpointSettings {
        name: name?,
        id: EndpointId::new(base_url.as_str(), &api_key),
        auth: auth.unwrap_or_else(|| auth_of_host(&base_url)),
        base_url,
        api_key,
        protocol: protocol?,
        billing: billing?,
        priority,
        weight,
        models,
        model_map,
        enabled,
    })
}

/// The vendors take one header each and relays vary: see docs, Credentials.
fn auth_of_host(base_url: &BaseUrl) -> AuthForm {
    match base_url.host() {
        "api.anthropic.com" => AuthForm::XApiKey,
        "api.openai.com" => AuthForm::Bearer,
        _ => AuthForm::Both,
    }
}
