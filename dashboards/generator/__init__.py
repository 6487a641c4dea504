"""Writes dashboards, alerts, recording rules and provisioning files from one description.

`alerts` and `recordings` describe the rules, `overview` and `health` the dashboards; `prometheus_rules`,
`grafana_alerts`, `grafana_dashboards` and `provisioning` write them in the forms that the programs read.
`python -m dashboards.generator` rewrites everything.
"""
