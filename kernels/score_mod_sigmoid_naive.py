"""Reference for ``score_mod_sigmoid``: that of ``score_mod``."""

from dse.kernels.score_mod_naive import score_mod_naive

score_mod_sigmoid_naive = score_mod_naive
