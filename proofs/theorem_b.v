(* Theorem B, algebraic core, over any field: which logits X^T M X, M of rank <= k, there are. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model log_rank linalg.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section TheoremB.
Variables (F : fieldType) (n d k : nat).
Hypothesis n_unit : (n%:R : F) != 0.
Variables (X : 'M[F]_(d, n)) (A : 'M[F]_n).
Local Notation one := (ones F n).
Local Notation C := (centre F n).

Local Notation kills_null_right := (model.kills_null_right X A).
Local Notation kills_null_left := (model.kills_null_left X A).

(* weights w of sum 1, and the gauge in which w^T L = 0 *)
Lemma gauge_weights (w : 'cV_n) : one^T *m w = 1%:M ->
  (1%:M - one *m w^T) *m A = (1%:M - one *m w^T) *m (C *m A).
Proof.
move=> w1; rewrite mulmxA; congr (_ *m _).
rewrite /centre mulmxBr mulmx1 -scalemxAr [_ *m (one *m _)]mulmxA mulmxBl mul1mx.
have -> : one *m w^T *m one = one.
  by rewrite -mulmxA -[w^T *m one]trmxK trmx_mul trmxK w1 trmx1 mulmx1.
by rewrite subrr mul0mx scaler0 subr0.
Qed.

(* A + 1 c^T = (Wk X)^T (Wq X) for some c and Wk, Wq of k rows iff C A v = 0 whenever X v = 0,
   u^T A = 0 whenever X u = 0 and 1^T u = 0, and rank C A <= k *)
Theorem theorem_b :
  (exists (Wk Wq : 'M_(k, d)) (c : 'rV_n), (Wk *m X)^T *m (Wq *m X) = A + one *m c)
  <-> [/\ kills_null_right, kills_null_left & (\rank (C *m A) <= k)%N].
Proof.
split=> [[Wk [Wq [c h]]] | [hr hl rk]].
  split=> [v Xv | u Xu u1 |].
  - by rewrite -(centre_gauge n_unit A c) -h -!mulmxA Xv !mulmx0.
  - rewrite -[A](addrK (one *m c)) -h mulmxBr trmx_mul !mulmxA -trmx_mul Xu trmx0 !mul0mx.
    by rewrite -(trmxK one) -trmx_mul u1 trmx0 mul0mx subr0.
  apply: leq_trans (logrank_le n_unit A c) _; rewrite -h.
  by apply: leq_trans (mxrankM_maxl _ _) _; rewrite mxrank_tr rank_leq_row.
have [w w1 wX] : exists2 w : 'cV_n, one^T *m w = 1%:M &
    forall u : 'cV_n, X *m u = 0 -> X *m (u - w *m (one^T *m u)) = 0.
  have [oX | oX] := boolP (one^T <= X)%MS.
    exists (n%:R^-1 *: one); first by rewrite -scalemxAr ones_tr_ones scale_scalar_mx mulVf.
    move=> u Xu; have /submxP [a ->] := oX.
    by rewrite mulmxBr Xu -(mulmxA a) Xu !mulmx0 subrr.
  have [w Xw w1] : exists2 w : 'cV_n, X *m w = 0 & one^T *m w != 0.
    exact: not_submx_witness.
  have e : one^T *m w = ((one^T *m w) 0 0)%:M by rewrite -mx11_scalar.
  have nz : (one^T *m w) 0 0 != 0.
    by apply: contraNneq w1 => z; rewrite e z raddf0.
  exists (((one^T *m w) 0 0)^-1 *: w).
    by rewrite -scalemxAr {2}e scale_scalar_mx mulVf.
  by move=> u Xu; rewrite mulmxBr Xu mulmxA -scalemxAr Xw scaler0 mul0mx subr0.
pose L := (1%:M - one *m w^T) *m A.
have [||| Wk [Wq h]] := @logits_factor _ d n k X L.
- apply: ker_submx => v /hr e; by rewrite /L gauge_weights // -mulmxA e mulmx0.
- apply: ker_submx => u Xu; apply: trmx_inj; rewrite trmx_mul trmxK trmx0 /L mulmxA mulmxBr mulmx1.
  have -> : u^T - u^T *m (one *m w^T) = (u - w *m (one^T *m u))^T.
    by rewrite linearB /= !trmx_mul trmxK mulmxA.
  apply: hl; first exact: wX.
  by rewrite mulmxBr mulmxA w1 mul1mx subrr.
- by rewrite /L gauge_weights //; apply: leq_trans (mxrankM_maxr _ _) rk.
by exists Wk, Wq, (- (w^T *m A)); rewrite h /L mulmxBl mul1mx mulmxN mulmxA.
Qed.
End TheoremB.
