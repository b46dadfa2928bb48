"""BYOL, prediction between two views of a window: `accelerate launch pretrain/byol.py [--config NAME] …`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.byol_run import main

if __name__ == "__main__":
    main()
