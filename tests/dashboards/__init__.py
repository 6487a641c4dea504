"""Tests of dashboards, alerts and the demonstration that shows them."""
