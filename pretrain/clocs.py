"""CLOCS, contrast of a subject's segments and leads: `accelerate launch pretrain/clocs.py [--config NAME] …`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.clocs_run import main

if __name__ == "__main__":
    main()
