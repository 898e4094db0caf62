"""The kinds of ``paceline.dev`` as frozen types, and the CRDs generated from them. Pure: no I/O."""

GROUP = "paceline.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "TrainingJob"
PLURAL = "trainingjobs"
TRAINER_CONTAINER = "trainer"
