"""The git layer of mirrors: git run hardened, bare copies, proofs by ref advertisement."""
