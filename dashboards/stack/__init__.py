"""The demonstration with real servers: Prometheus, Alertmanager and, where it is installed, Grafana.

`python -m dashboards.stack` builds the laboratory, lets a mismatch happen, and waits until Alertmanager has the
alert; then it declares the pool of the virtual address and waits until the alert has ended.
"""
