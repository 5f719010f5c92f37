"""Jobs cut into tasks: captures, rollouts and sweeps, done task after task here or by the nodes of a Ray cluster.

A job says what its tasks are and never who does them.  It is given a *runner*, which does a function on every item and
gives the results in order: the builtin ``map`` here, :class:`probes.cluster.runner.OnRay` on a cluster.  So there is
one code path, and who ran a job cannot be seen in its result, down to the last bit on equal processors.
"""
