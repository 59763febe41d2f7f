"""Reference for ``score_mod_alibi``: that of ``score_mod``."""

from dse.kernels.score_mod_naive import score_mod_naive

score_mod_alibi_naive = score_mod_naive
