(* A 2 x 2 softmax by numbers: columns sum to 1, rows need not. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg log_rank softmax_gauge theorem_a theorem_1 almost_all theorem_1_more theorem_1_dense theorem_b theorem_b_softmax theorem_c theorem_c_generic theorem_c_softmax theorem_c_causal theorem_2_inclusion theorem_2_separation theorem_2_b20 variants.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.
Section S.
Variable R : expField.
Local Notation i0 := (ord0 : 'I_2).
Local Notation i1 := (ord_max : 'I_2).

(* columns, not rows: logits [[ln 2, 0], [0, 0]] give [[2/3, 1/2], [1/3, 1/2]] *)
Definition L : 'M[R]_2 := \matrix_(i, j) (if (i == i0) && (j == i0) then ln 2%:R else 0).
Lemma sm : [/\ softmax L i0 i0 = 2%:R / 3%:R, softmax L i1 i0 = 1 / 3%:R,
   softmax L i0 i1 = 1 / 2%:R & softmax L i1 i1 = 1 / 2%:R].
Proof.
have e j : \sum_l expR (L l j) = expR (L i0 j) + expR (L i1 j).
  by rewrite !big_ord_recl big_ord0 addr0; congr (expR (L _ _) + expR (L _ _)); apply: val_inj.
have l2 : expR (ln 2%:R : R) = 2%:R by rewrite lnK // posrE ltr0n.
have n2 : 1 + 1 = 2%:R :> R by []. have n3 : 2%:R + 1 = 3%:R :> R by rewrite -[X in _ + X]/(1%:R) -natrD.
by rewrite !softmaxE !e !mxE /= l2 !expR0 n2 n3.
Qed.
Lemma row_not : \sum_j softmax L i0 j != 1.
Proof.
have [a _ b _] := sm.
rewrite !big_ord_recl big_ord0 addr0 a (_ : lift _ _ = i1) ?b; last exact: val_inj.
rewrite addf_div ?pnatr_eq0 // -natrM mul1r -natrM -natrD.
by rewrite (can2_eq (divfK _) (mulfK _)) ?pnatr_eq0 // mul1r eqr_nat.
Qed.
End S.
