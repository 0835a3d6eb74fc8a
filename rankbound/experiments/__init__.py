"""The experiments in laptop form: functions of their parameters, run through sweeps."""
