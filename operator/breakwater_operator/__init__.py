"""Breakwater's control plane: turns TradingPolicy and EmergencyStop into running components."""
