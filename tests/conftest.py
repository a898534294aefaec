"""Settings of every test: no test is judged by the time that it takes."""

from hypothesis import HealthCheck, settings

settings.register_profile("blumfeld", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("blumfeld")
