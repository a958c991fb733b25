"use strict";
const ago = (text) => {
  if (!text) return "";
  const secs = Math.round((Date.parse(text) - Date.now()) / 1000), span = Math.abs(secs);
  const words = span < 60 ? span + " s" : span < 3600 ? Math.round(span / 60) + " min" : Math.round(span / 3600) + " h";
  return secs > 0 ? "in " + words : words + " ago";
};
const cell = (row, text, kind) => {
  const td = row.insertCell();
  td.textContent = text;
  if (kind) td.className = kind;
};
const show = (status) => {
  document.getElementById("cluster").textContent = status.cluster;
  document.getElementById("note").textContent =
    `http://${status.listen} · ${status.usable} of ${status.endpoints.length} usable · started ${ago(status.started_at)}`;
  const rows = document.getElementById("rows");
  rows.replaceChildren();
  for (const endpoint of status.endpoints) {
    const row = rows.insertRow();
    const aside = endpoint.admin !== "active";
    cell(row, endpoint.name);
    cell(row, aside ? endpoint.admin : endpoint.state, aside ? "aside" : endpoint.state);
    const cooling = endpoint.cooldown_until ? "left alone until " + ago(endpoint.cooldown_until) : "";
    const why = endpoint.cause ? `${endpoint.cause}: ${endpoint.last_error ?? ""}` : cooling;
    cell(row, why);
    cell(row, ago(endpoint.since));
    cell(row, ago(endpoint.next_check_at));
    cell(row, endpoint.in_flight);
    cell(row, `${endpoint.requests.passed} / ${endpoint.requests.failed}`);
  }
};
const refresh = async () => {
  try {
    show(await (await fetch("/status")).json());
  } catch {
    document.getElementById("note").textContent = "the proxy does not answer";
  }
  setTimeout(refresh, 1000);
};
refresh();
