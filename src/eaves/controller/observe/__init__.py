"""From device messages to status, conditions and events: pure functions.

``observe_info`` takes one info message, ``observe_contact`` the time of the last contact, ``observe_compiled`` the
outcome of compiling, ``observe_attestation`` that of attesting; each answers the updates to write.
``summarise_metrics`` reads a metrics message for ``kubectl top``, ``judge_pressure`` for the conditions that ``observe_pressure`` sets.
"""
