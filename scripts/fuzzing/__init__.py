"""Coverage-guided fuzzing of every decoder that meets outside bytes: `scripts/fuzz`.

::

    target      what is fuzzed: a property of one decoder, real seeds, the shape of its input
    mutation    changes that keep an input's shape: a tree of values, lines, or plain bytes
    world       a real cluster's objects, the source of the seeds
    *_targets   the properties
    catalogue   all of them by name
    campaign    runs targets in processes of their own, under atheris
    reach       which lines of the decoder a corpus reaches
"""
