"""What Prometheus, Alertmanager and Grafana need to watch inspectors; no part of the installed package."""
